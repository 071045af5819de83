package sendmail

import (
	"fmt"
	"slices"
	"strings"
)

// Mode is what a command line asks for.
type Mode int

// The modes.
const (
	// Submit reads a message and submits it; the default, and -bm.
	Submit Mode = iota
	// Session speaks SMTP on standard input and output: -bs.
	Session
	// List lists the queue: -bp.
	List
	// Flush tries everything in the queue now: -q.
	Flush
	// Aliases checks the aliases file, which is read again by itself: -bi.
	Aliases
)

// Arguments is a command line.
type Arguments struct {
	Mode Mode
	// From is the reverse-path of -f or -r; Named says that there was one, be it
	// empty.
	From  string
	Named bool
	// FullName is that of -F, for a From field that has to be made.
	FullName string
	// FromHeader takes the recipients from To, Cc and Bcc: -t.
	FromHeader bool
	// KeepDots takes a line with a dot alone as any other: -i, -oi.
	KeepDots bool
	// Verbose shows the dialogue: -v.
	Verbose bool
	// Notify, Return and EnvelopeID are -N, -R and -V.
	Notify, Return, EnvelopeID string
	// Recipients are those on the command line.
	Recipients []string
}

// ignored are the letters of flags that have no meaning here, and are taken
// because programs use them: those that stand alone, and those with a value.
const (
	ignoredAlone = "GUmn"
	ignoredValue = "ABCLXhp"
)

// Parse reads the arguments of a sendmail command. An error says what is wrong
// with them.
func Parse(args []string) (Arguments, error) {
	var a Arguments
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			a.Recipients = append(a.Recipients, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			a.Recipients = append(a.Recipients, arg)
			continue
		}
		used, err := a.letters(arg, args)
		if err != nil {
			return a, err
		}
		args = args[used:]
	}
	return a, a.check()
}

// letters reads one argument of flags, which can be several letters of which
// the last has a value: -tif me@a.example. It returns how many arguments after
// it were used.
func (a *Arguments) letters(arg string, next []string) (used int, err error) {
	for i := 1; i < len(arg); i++ {
		letter, rest := arg[i], arg[i+1:]
		if a.alone(letter) {
			continue
		}
		if strings.IndexByte("bdoq", letter) >= 0 { // the value is in the same argument
			return 0, a.attached(letter, rest)
		}
		if strings.IndexByte("FNORVfr"+ignoredValue, letter) < 0 {
			return 0, fmt.Errorf("unknown flag -%c in %q", letter, arg)
		}
		if rest == "" {
			if len(next) == 0 {
				return 0, fmt.Errorf("flag -%c needs a value", letter)
			}
			rest, used = next[0], 1
		}
		return used, a.valued(letter, rest)
	}
	return 0, nil
}

// alone sets a flag that has no value, if letter is one.
func (a *Arguments) alone(letter byte) bool {
	switch letter {
	case 't':
		a.FromHeader = true
	case 'i':
		a.KeepDots = true
	case 'v':
		a.Verbose = true
	default:
		return strings.IndexByte(ignoredAlone, letter) >= 0
	}
	return true
}

// attached sets a flag whose value follows at once.
func (a *Arguments) attached(letter byte, value string) error {
	switch letter {
	case 'o':
		// -oi is -i; the others choose how errors are told and when delivery
		// is tried, which is not for the one who submits to choose.
		a.KeepDots = a.KeepDots || value == "i"
	case 'q': // -q, -q30m, -qRexample.org
		if value != "" {
			return fmt.Errorf("-q%s: only -q is known; the running waypost looks after its queue by itself", value)
		}
		a.Mode = Flush
	case 'b':
		modes := map[string]Mode{"m": Submit, "s": Session, "p": List, "i": Aliases}
		mode, ok := modes[value]
		if !ok {
			return fmt.Errorf("-b%s is not known; -bm, -bs, -bp and -bi are", value)
		}
		a.Mode = mode
	}
	return nil
}

// valued sets a flag that has a value.
func (a *Arguments) valued(letter byte, value string) error {
	switch letter {
	case 'f', 'r':
		a.From, a.Named = strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">"), true
	case 'F':
		a.FullName = value
	case 'N':
		a.Notify = strings.ToUpper(value)
	case 'R':
		a.Return = strings.ToUpper(value)
	case 'V':
		a.EnvelopeID = value
	case 'O':
		if strings.EqualFold(value, "IgnoreDots") || strings.EqualFold(value, "IgnoreDots=true") {
			a.KeepDots = true
		}
	}
	return nil
}

func (a *Arguments) check() error {
	if a.Return != "" && a.Return != "FULL" && a.Return != "HDRS" {
		return fmt.Errorf("-R is full or hdrs, and not %q", a.Return)
	}
	if a.Notify != "" {
		words := strings.Split(a.Notify, ",")
		for _, w := range words {
			if !slices.Contains([]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}, w) || w == "NEVER" && len(words) > 1 {
				return fmt.Errorf("-N is never, or some of success, failure and delay, and not %q", a.Notify)
			}
		}
	}
	if a.Mode == Submit && !a.FromHeader && len(a.Recipients) == 0 {
		return fmt.Errorf("no recipients: name some, or take those of the message with -t")
	}
	return nil
}
