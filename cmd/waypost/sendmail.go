package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/sendmail"
	"waypost/configs"
	"waypost/relay"
	"waypost/relay/alias"
	"waypost/relay/control"
	"waypost/relay/drop"
	"waypost/relay/smtp"
)

// systemConfig is the configuration of a sendmail command for which nobody
// named one: cron and PHP have no place to.
const systemConfig = "/etc/waypost/waypost.toml"

// calledAs makes subcommands of the names that programs know.
func calledAs(argv []string) []string {
	switch filepath.Base(argv[0]) {
	case "sendmail":
		return append([]string{"sendmail"}, argv[1:]...)
	case "mailq":
		return append([]string{"sendmail", "-bp"}, argv[1:]...)
	case "newaliases":
		return append([]string{"sendmail", "-bi"}, argv[1:]...)
	}
	return argv[1:]
}

func (p *program) sendmailCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [-t] [-i] [-f SENDER] [-F NAME] [-v] [RECIPIENT...]",
		Short: "Submit a message, as the sendmail of cron, PHP and git does",
		Long: `Reads a message from standard input and submits it to the running waypost. Where
none runs, or it cannot take the message now, the message is left in drop_dir,
and taken when it can. What is refused then is reported to the sender; what is
refused at once is an error.

It is also what is done when the program is called by the name sendmail, mailq
or newaliases.

  -t           take the recipients from To, Cc and Bcc; Bcc is removed
  -i, -oi      a line with a dot alone does not end the message
  -f SENDER    the sender, for reports; -f '' is none (-r is the same)
  -F NAME      the full name for a From field that lacks
  -N, -R, -V   NOTIFY, RET and ENVID of RFC 3461
  -v           show the SMTP dialogue
  -bs          speak SMTP with the running waypost on standard input and output
  -bp          list the queue (mailq)
  -bi          nothing: files of aliases are read again by themselves (newaliases)
  -q           try everything in the queue now

Other flags of sendmail are taken and mean nothing. A recipient without a domain
is one of this host. Without --config and WAYPOST_CONFIG the configuration is
` + systemConfig + `, if it is there.`,
		Example:            "  waypost sendmail -t < message.eml\n  ln -s /usr/local/bin/waypost /usr/sbin/sendmail",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, help := p.ownFlags(args)
			if help {
				return cmd.Help()
			}
			a, err := sendmail.Parse(args)
			if err != nil {
				return usageError("%w\nrun \"waypost sendmail --help\" to see what it takes", err)
			}
			return p.sendmail(cmd.Context(), cmd.InOrStdin(), a)
		},
	}
}

// ownFlags takes the flags of waypost itself away from those of sendmail.
func (p *program) ownFlags(args []string) (rest []string, help bool) {
	for len(args) > 0 {
		value, attached := strings.CutPrefix(args[0], "--config=")
		switch {
		case args[0] == "--help":
			return nil, true
		case attached:
			p.configFile, args = value, args[1:]
		case (args[0] == "--config" || args[0] == "-c") && len(args) > 1:
			p.configFile, args = args[1], args[2:]
		default:
			return args, false
		}
	}
	return args, false
}

func (p *program) sendmail(ctx context.Context, in io.Reader, a sendmail.Arguments) error {
	if p.configFile == "" && !slices.ContainsFunc(p.environ, func(s string) bool { return strings.HasPrefix(s, "WAYPOST_CONFIG=") }) {
		if _, err := os.Stat(systemConfig); !errors.Is(err, fs.ErrNotExist) {
			p.configFile = systemConfig
		}
	}
	// Whoever sends mail may not be able to read our keys, and need not.
	c, err := configs.LoadUnchecked(p.configFile, p.environ)
	if err != nil {
		return &codedError{exitConfig, err}
	}
	q := &queueProgram{program: p, dataDir: c.DataDir}
	switch a.Mode {
	case sendmail.Session:
		return p.session(in, server(c))
	case sendmail.List:
		return q.list(ctx, &listOptions{sort: oldestFirst})
	case sendmail.Flush:
		return q.connect(ctx, func(ctx context.Context, c *control.Client) error {
			return q.change(ctx, c, changeVerbs()[0], control.Selection{All: true}, false)
		})
	case sendmail.Aliases:
		return p.newAliases(c)
	}
	return p.submit(in, a, c)
}

// newAliases says what is in the aliases file. There is nothing to make of it: a
// waypost that serves reads it again by itself.
func (p *program) newAliases(c *configs.Config) error {
	name := c.Relay.AliasesFile
	if name == "" {
		return nil
	}
	f, err := alias.Load(name, c.Hostname, nil)
	if err != nil {
		return &codedError{exitConfig, err}
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %d aliases\n", name, f.Table().Len())
	return outputError(err)
}

// server is the listener of the configuration that local mail goes to: one
// without TLS if there is one, for there is no network between.
func server(c *configs.Config) sendmail.Server {
	best := slices.MinFunc(c.Listeners, func(a, b configs.Listener) int { return hurdles(a) - hurdles(b) })
	host, port, err := net.SplitHostPort(best.Address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return sendmail.Server{
		Address: net.JoinHostPort(host, port), Hostname: c.Hostname,
		Implicit: best.TLS == configs.TLSImplicit, StartTLS: best.TLS == configs.TLSRequired,
	}
}

func hurdles(l configs.Listener) (n int) {
	if l.Auth == configs.AuthRequired {
		n += 4
	}
	switch l.TLS {
	case configs.TLSRequired:
		n++
	case configs.TLSImplicit:
		n += 2
	}
	return n
}

// session joins standard input and output to the server.
func (p *program) session(in io.Reader, s sendmail.Server) error {
	conn, err := s.Dial()
	if err != nil {
		_, _ = fmt.Fprint(p.stdout, "421 4.3.2 No waypost is running\r\n")
		return err
	}
	defer conn.Close()
	go func() {
		// A program may end its lines with LF alone; a server must not take it.
		if _, err := io.Copy(conn, sendmail.Lines(in)); err == nil {
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		}
	}()
	_, err = io.Copy(p.stdout, conn)
	return outputError(err)
}

// submit reads the message and gives it to the server, or leaves it in the
// drop directory.
func (p *program) submit(in io.Reader, a sendmail.Arguments, c *configs.Config) error {
	sender := caller(c.Hostname)
	if !a.Named {
		a.From = sender.Address
	}
	m, err := sendmail.Read(in, a, sender, time.Now())
	if err != nil {
		return &codedError{exitData, err}
	}
	content := bytes.NewBuffer(m.Header)
	limit := int64(c.Limits.MessageSize)
	if _, err := io.Copy(content, io.LimitReader(m.Body, limit+1)); err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	if int64(content.Len()) > limit {
		return &codedError{exitData, fmt.Errorf("the message is larger than limits.message_size, %d octets", limit)}
	}
	e := envelope(a, m.Recipients, c.Hostname)
	s := server(c)
	if a.Verbose {
		s.Dialogue = printable{p.stdout}
	}
	eightBit := slices.ContainsFunc(content.Bytes(), func(b byte) bool { return b > 127 })
	err = s.Submit(e, bytes.NewReader(content.Bytes()), eightBit)
	if err == nil {
		return nil
	}
	if !sendmail.Temporary(err) {
		return &codedError{exitData, err}
	}
	bad := misspelt(&e)
	if len(e.To) == 0 {
		return bad
	}
	if failed := drop.Write(relay.DropDir(c), e, content); failed != nil {
		return &codedError{exitTemporary, fmt.Errorf("%w; nor can the message wait: %w", err, failed)}
	}
	if a.Verbose {
		_, _ = fmt.Fprintln(p.stdout, "left for later: "+smtp.Printable(err.Error()))
	}
	return bad
}

// misspelt takes out of an envelope the recipients that are none, which needs no
// waypost to know; all of them where the sender is none. Whatever else may be
// refused later is told the sender by a report.
func misspelt(e *drop.Envelope) error {
	if _, err := smtp.ParseMailbox(e.From, true); err != nil {
		e.To = nil
		return &codedError{exitData, fmt.Errorf("sender <%s>: %w", e.From, err)}
	}
	var bad []error
	e.To = slices.DeleteFunc(e.To, func(to string) bool {
		path, err := smtp.ParseMailbox(to, true)
		if err == nil && path.IsNull() {
			err = errors.New("it is empty")
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("recipient <%s>: %w", to, err))
		}
		return err != nil
	})
	if len(bad) == 0 {
		return nil
	}
	return &codedError{exitData, errors.Join(bad...)}
}

// envelope puts what was said together. A name without a domain is one of this
// host.
func envelope(a sendmail.Arguments, more []string, hostname string) drop.Envelope {
	local := func(address string) string {
		if address == "" || strings.ContainsRune(address, '@') {
			return address
		}
		return address + "@" + hostname
	}
	e := drop.Envelope{From: local(a.From), Notify: a.Notify, Return: a.Return, ID: a.EnvelopeID}
	for _, to := range slices.Concat(a.Recipients, more) {
		to = local(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(to), "<"), ">"))
		if !slices.Contains(e.To, to) {
			e.To = append(e.To, to)
		}
	}
	all := append(slices.Clone(e.To), e.From)
	e.UTF8 = slices.ContainsFunc(all, func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return r > 127 }) })
	return e
}

// caller is the user who runs the command.
func caller(hostname string) sendmail.Sender {
	s := sendmail.Sender{Address: "nobody@" + hostname, Hostname: hostname}
	if u, err := user.Current(); err == nil {
		s.Address = u.Username + "@" + hostname
		s.Name, _, _ = strings.Cut(u.Name, ",") // of a GECOS field
	}
	return s
}

// printable keeps what the server says from steering the terminal.
type printable struct{ w io.Writer }

// Write prints whole lines.
func (p printable) Write(b []byte) (int, error) {
	_, err := fmt.Fprintln(p.w, smtp.Printable(strings.TrimSuffix(string(b), "\n")))
	return len(b), err
}
