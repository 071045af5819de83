package main

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/letter"
	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
)

// catOptions are the flags of cat.
type catOptions struct{ header, body, decoded, json bool }

func (q *queueProgram) catCommand() *cobra.Command {
	o := &catOptions{}
	cmd := &cobra.Command{
		Use:   "cat ID",
		Short: "Print the content of a message",
		Long: `Prints the content of a message: header and body, with the fields that waypost
added. Into a file or a pipe it goes octet for octet. On a terminal, characters
that could steer it are question marks.

With --decoded it is what a mail program would show: encoded words, quoted-printable
and base64 are decoded, and parts that are no text are named and left out.

With --json the fields come one by one, and the message is held in memory.`,
		Example: "  waypost queue cat 06F8TKQ2C0000 > message.eml\n  waypost queue cat --header 06F8TKQ2C0000\n  waypost queue cat --decoded 06F8TKQ2C0000 | less",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("%q prints one message at a time", cmd.CommandPath())
			}
			return someIDs(cmd, args)
		},
		ValidArgsFunction: q.completeID,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if o.header && o.body {
				return usageError("--header and --body exclude each other; without either it is both")
			}
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.cat(ctx, c, ids[0], o)
			})
		},
	}
	cmd.Flags().BoolVar(&o.header, "header", false, "the header section alone")
	cmd.Flags().BoolVar(&o.body, "body", false, "the body alone")
	cmd.Flags().BoolVar(&o.decoded, "decoded", false, "as people read it, without its encodings")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
	return cmd
}

func (q *queueProgram) cat(ctx context.Context, c *control.Client, id string, o *catOptions) error {
	out := &output{w: q.stdout}
	var err error
	switch {
	case o.json:
		err = o.printJSON(ctx, c, id, out)
	case terminal.Is(q.stdout):
		safe := terminal.NewWriter(out)
		err = errors.Join(o.copy(ctx, c, id, safe), safe.Close())
	default:
		err = o.copy(ctx, c, id, out)
	}
	if out.err != nil {
		return outputError(out.err)
	}
	if problem, ok := errors.AsType[*control.Problem](err); ok && problem.Code == control.CodeUnknownID {
		return unknown([]string{id})
	}
	return err
}

// section is what is wanted of a message.
func (o *catOptions) section() letter.Section {
	switch {
	case o.header:
		return letter.Header
	case o.body:
		return letter.Body
	}
	return letter.Whole
}

// copy writes what is wanted of a message.
func (o *catOptions) copy(ctx context.Context, c *control.Client, id string, w io.Writer) error {
	show := letter.Write
	if o.decoded {
		show = letter.Decode
	}
	return read(ctx, c, id, func(content io.Reader) error { return show(w, content, o.section()) })
}

// catMessage is the content of one message. What is not UTF-8 in Header is
// replaced.
type catMessage struct {
	ID string `json:"id"`
	// Header are the fields in order; left out with --body.
	Header []letter.Field `json:"header,omitempty"`
	// Body is what follows them; left out with --header.
	Body *string `json:"body,omitempty"`
	// Base64 says that Body is not UTF-8, and therefore in base64.
	Base64 bool `json:"base64"`
}

// printJSON prints what is wanted of a message in one piece.
func (o *catOptions) printJSON(ctx context.Context, c *control.Client, id string, w io.Writer) error {
	m := catMessage{ID: id}
	err := read(ctx, c, id, func(content io.Reader) error {
		header, body, err := letter.Read(content, o.section(), o.decoded)
		m.Header = header
		if !o.header {
			text := string(body)
			if m.Base64 = !utf8.Valid(body); m.Base64 {
				text = base64.StdEncoding.EncodeToString(body)
			}
			m.Body = &text
		}
		return err
	})
	if err != nil {
		return err
	}
	return printJSON(w, m)
}

// read lets show read the content of a message.
func read(ctx context.Context, c *control.Client, id string, show func(io.Reader) error) error {
	content, writer := io.Pipe()
	shown := make(chan error, 1)
	go func() {
		err := show(content)
		content.CloseWithError(err) // which ends Content, too
		shown <- err
	}()
	err := c.Content(ctx, id, writer)
	writer.CloseWithError(err)
	if failed := <-shown; err == nil {
		err = failed
	}
	return err
}

// output remembers that writing failed, to tell it from reading.
type output struct {
	w   io.Writer
	err error
}

// Write writes to the output.
func (o *output) Write(p []byte) (n int, err error) {
	n, err = o.w.Write(p)
	o.err = err
	return n, err
}
