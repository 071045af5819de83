package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// follow prints what happens to messages until it is interrupted, which is no
// error.
func (q *queueProgram) follow(ctx context.Context, c *control.Client, key string, asJSON bool) error {
	out := bufio.NewWriter(q.stdout)
	err := c.Follow(ctx, key, func(f *control.Followed) error {
		if f.Begun {
			// Scripts have no use for this, and people may wait for long.
			_, _ = fmt.Fprintf(q.stderr, "following %s until interrupted\n", smtp.Printable(key))
			return nil
		}
		if err := printFollowed(out, f, asJSON); err != nil {
			return err
		}
		return outputError(out.Flush())
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func printFollowed(out *bufio.Writer, f *control.Followed, asJSON bool) error {
	switch {
	case f.Story == nil && f.Event == nil && f.Missed == 0: // it only says that it is there
		return nil
	case asJSON:
		text, err := terminal.JSON(f, "")
		_, _ = fmt.Fprintln(out, text) // an error is Flush's too
		return err
	case f.Story != nil:
		_, _ = fmt.Fprintln(out)
		printMessage(out, f.Story, time.Now())
		_, _ = fmt.Fprintln(out)
	case f.Event != nil:
		_, _ = fmt.Fprintln(out, eventText(f.Event))
	default:
		_, _ = fmt.Fprintf(out, "(%s of the log came too fast and are left out)\n", count(f.Missed, "line"))
	}
	return nil
}

// eventText is a line of the log for people: the time of day, what happened, and
// the rest in the order of the log.
func eventText(line json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var at, what string
	var rest []string
	_, _ = d.Token() // the brace
	for d.More() {
		key, _ := d.Token()
		var value any
		if err := d.Decode(&value); err != nil {
			break // what is no line of the log ends here
		}
		text := fmt.Sprint(value)
		switch key {
		case "time":
			if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
				at = t.Local().Format("15:04:05.000")
			}
		case "level":
		case "msg":
			what = text
		default:
			if text == "" || strings.ContainsAny(text, " =\"") {
				text = fmt.Sprintf("%q", text)
			}
			rest = append(rest, fmt.Sprintf("%s=%s", key, text))
		}
	}
	return smtp.Printable(strings.TrimSpace(at + "  " + what + "  " + strings.Join(rest, " ")))
}
