package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

func TestExitCode(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("on the way: %w", err) }
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{usageError("wrong"), 64},
		{unknown([]string{"06F8TKQ2C0000"}), 65},
		{unknown(nil), 0},
		{checkIDs([]string{"x"}), 65},
		{&control.Problem{Code: control.CodeBadRequest}, 65},
		{&control.Problem{Code: control.CodeUnknownID}, 65},
		{&control.NotRunningError{Err: fs.ErrNotExist}, 69},
		{&control.Problem{Code: control.CodeDamaged}, 74},
		{&control.Problem{Code: control.CodeStorage}, 74},
		{wrap(queue.ErrStore), 74},
		{startError(wrap(queue.ErrStore)), 74},
		{outputError(fs.ErrClosed), 74},
		{outputError(nil), 0},
		{&control.Problem{Code: control.CodeTemporary}, 75},
		{errors.New("anything else"), 75},
		{wrap(fs.ErrPermission), 77},
		{startError(wrap(fs.ErrPermission)), 77},
		{wrap(configs.Problems{{Text: "wrong"}}), 78},
		{&queue.InUseError{}, 78},
		{startError(&queue.InUseError{}), 78},
		{startError(errors.New("listen: address already in use")), 78},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", time.Hour - 1: "59m",
		3*time.Hour + 5*time.Minute: "3h05m", 24*time.Hour - 1: "23h59m", 24 * time.Hour: "1d00h", 125 * time.Hour: "5d05h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1250: "1.2 kB", 9949: "9.9 kB", 9950: "10 kB", 35_400: "35 kB",
		999_499: "999 kB", 999_500: "1.0 MB", 50_000_000: "50 MB", 2e9: "2.0 GB", 3e12: "3.0 TB", 4e15: "4000 TB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"list", "list", 0}, {"lst", "list", 1}, {"lsit", "list", 1}, {"serve", "service", 2}, {"check", "show", 4}} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: got %d, want %d", test.a, test.b, got, test.want)
		}
		if got := editDistance(test.b, test.a); got != test.want {
			t.Errorf("%q to %q: got %d, want %d", test.b, test.a, got, test.want)
		}
	}
}

func TestTableFitsAndSaysNothingRaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 200).Draw(t, "width")
		text := rapid.StringOf(rapid.RuneFrom([]rune("ab@\x1b\u202eé…\n")))
		var out lines
		table := newListTable(&out, width)
		for range rapid.IntRange(1, 3).Draw(t, "pages") {
			var page []control.Message
			for range rapid.IntRange(0, 3).Draw(t, "messages") {
				page = append(page, control.Message{ID: "06F8TKQ2C0000", From: text.Draw(t, "from"), State: control.StateDeferred,
					Recipients: []control.Recipient{{Address: text.Draw(t, "to"), State: control.StateDeferred, Reply: text.Draw(t, "reply")}}})
			}
			if err := table.page(page); err != nil {
				t.Fatal(err)
			}
		}
		for _, line := range out {
			if n := utf8.RuneCountInString(line); n > width || smtp.Printable(line) != line {
				t.Fatalf("%q has %d characters on a terminal of %d", line, n, width)
			}
		}
	})
}

// lines gathers what is printed, one line a Write.
type lines []string

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, string(p[:len(p)-1]))
	return len(p), nil
}

// Replies of several lines are shown as they were said, and cannot steer the
// terminal.
func TestRepliesAreShownLineByLine(t *testing.T) {
	for _, test := range []struct {
		reply string
		lines []string
		want  string
	}{
		{"connection refused", nil, "  Reply      connection refused\n"},
		{"550 5.1.1 No such user", []string{"No such user"}, "  Reply      550 5.1.1 No such user\n"},
		{"550 5.1.1 No such user see https://b.test", []string{"No such user", "see https://b.test"},
			"  Reply      550-5.1.1 No such user\n             550 5.1.1 see https://b.test\n"},
		{"550 No ?[2J such user", []string{"No \x1b[2J", "such user"}, "  Reply      550-No ?[2J\n             550 such user\n"},
		{"550  x", []string{"", "x"}, "  Reply      550  x\n"},
	} {
		var b strings.Builder
		out := bufio.NewWriter(&b)
		printMessage(out, &control.Message{AttemptLog: []control.Attempt{{Results: []control.AttemptResult{{Reply: test.reply, Lines: test.lines}}}}}, time.Now())
		out.Flush()
		if got := b.String(); !strings.HasSuffix(got, test.want) {
			t.Errorf("%q: %q, want the end %q", test.reply, got, test.want)
		}
	}
}
