// Package letter shows a message to people: the header section as it is meant, and
// its parts without their encodings.
//
// It is for looking at what may be broken or hostile: what cannot be decoded is
// shown as it is, and how deep and how many the parts are is bounded. It writes no
// files, and leaves to its caller what a terminal may be sent.
package letter

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

const (
	// maxHeader bounds a header section, in octets.
	maxHeader = 1 << 20
	// maxDepth and maxParts bound what is taken apart.
	maxDepth = 20
	maxParts = 1000
)

// Section is what of a message is wanted.
type Section uint8

// The sections. The zero value is all of it.
const (
	Whole Section = iota
	Header
	Body
)

// Write copies a section of a message, octet for octet. The header section comes
// without the empty line that ends it.
func Write(w io.Writer, content io.Reader, wanted Section) error {
	if wanted == Whole {
		_, err := io.Copy(w, content)
		return err
	}
	in := bufio.NewReader(content)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // a long line comes in pieces, of which none is empty
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && len(line) > 0 {
			break
		}
		if wanted == Header {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if wanted == Header {
		_, err := io.Copy(io.Discard, in) // whoever sends it wants to be heard
		return err
	}
	_, err := io.Copy(w, in)
	return err
}

// Decode writes a section of a message as people read it. Parts that are no text
// are described and left out.
func Decode(w io.Writer, content io.Reader, wanted Section) error {
	in := bufio.NewReader(content)
	d := &decoder{w: bufio.NewWriter(w)}
	header, failed := readHeader(in)
	if wanted != Body {
		d.header(header)
	}
	if wanted == Whole {
		d.print("\n")
	}
	if wanted != Header {
		d.part(header, in, "", 0)
	}
	_, err := io.Copy(io.Discard, in)
	return errors.Join(d.w.Flush(), failed, err)
}

// Read returns the fields and the body of a message, in memory; what is not wanted
// is nil. With decoded they are what Decode writes.
func Read(content io.Reader, wanted Section, decoded bool) (header []Field, body []byte, err error) {
	in := bufio.NewReader(content)
	header, failed := readHeader(in)
	var out bytes.Buffer
	switch {
	case wanted == Header:
	case decoded:
		d := &decoder{w: bufio.NewWriter(&out)}
		d.part(header, in, "", 0)
		_ = d.w.Flush() // memory takes everything
	default:
		_, err = out.ReadFrom(in)
	}
	if decoded {
		for i := range header {
			header[i].Value = decodeWords(header[i].Value)
		}
	}
	if wanted == Body {
		header = nil
	}
	_, rest := io.Copy(io.Discard, in)
	return header, out.Bytes(), errors.Join(failed, err, rest)
}

// decoder writes a message. Errors are those of its last Flush.
type decoder struct {
	w     *bufio.Writer
	parts int
}

func (d *decoder) print(format string, args ...any) { _, _ = fmt.Fprintf(d.w, format, args...) }

// header writes the fields with their encoded words decoded.
func (d *decoder) header(all []Field) {
	for _, f := range all {
		if f.Name == "" {
			d.print("%s\n", decodeWords(f.Value))
			continue
		}
		d.print("%s: %s\n", f.Name, decodeWords(f.Value))
	}
}

// part writes one part: those within, its text, or what it is.
func (d *decoder) part(header []Field, body io.Reader, number string, depth int) {
	kind, parameters, err := mime.ParseMediaType(get(header, "Content-Type"))
	if err != nil || kind == "" {
		kind, parameters = "text/plain", nil // RFC 2045 §5.2
	}
	body = transferDecoder(get(header, "Content-Transfer-Encoding"), body)
	if d.parts++; d.parts > maxParts || depth > maxDepth {
		d.print("[%s is left out: there are too many parts]\n", kind)
		return
	}
	switch boundary := parameters["boundary"]; {
	case strings.HasPrefix(kind, "multipart/") && boundary != "":
		d.multipart(body, boundary, number, depth)
	case kind == "message/rfc822", kind == "message/global":
		in := bufio.NewReader(body)
		d.title(number, kind, "")
		inner, _ := readHeader(in) // what is broken ends early
		d.header(inner)
		d.print("\n")
		d.part(inner, in, number, depth+1)
	case strings.HasPrefix(kind, "text/"), strings.HasPrefix(kind, "message/"):
		d.title(number, kind, parameters["name"])
		d.text(body, parameters["charset"])
	default:
		n, err := io.Copy(io.Discard, body)
		note := fmt.Sprintf("%d octets", n)
		if err != nil {
			note += ", and what follows cannot be decoded"
		}
		d.title(number, kind+", "+note, fileName(header, parameters))
	}
}

func (d *decoder) title(number, kind, name string) {
	if number == "" && strings.HasPrefix(kind, "text/") {
		return // there is nothing else
	}
	if name != "" {
		kind += ", " + fmt.Sprintf("%q", name)
	}
	if number != "" {
		kind = "part " + number[1:] + ": " + kind
	}
	d.print("[%s]\n", kind)
}

func (d *decoder) multipart(body io.Reader, boundary, number string, depth int) {
	parts := multipart.NewReader(body, boundary)
	for i := 1; ; i++ {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.print("[the parts end early: %v]\n", err)
			return
		}
		d.part(fields(p.Header), p, fmt.Sprintf("%s.%d", number, i), depth+1)
		if d.parts > maxParts {
			return
		}
	}
}

// text writes text in UTF-8 with line ends of its own, or what there is of it.
func (d *decoder) text(body io.Reader, name string) {
	r, err := charset(name, body)
	if err != nil {
		d.print("[in %q, as it is]\n", name)
		r = body
	}
	last := byte('\n')
	buffer := make([]byte, 4<<10)
	for err = nil; err == nil; {
		var n int
		n, err = r.Read(buffer)
		if n > 0 {
			last = buffer[n-1]
			_, _ = d.w.Write(bytes.ReplaceAll(buffer[:n], []byte("\r"), nil))
		}
	}
	if last != '\n' {
		d.print("\n")
	}
	if !errors.Is(err, io.EOF) {
		d.print("[what follows cannot be decoded: %v]\n", err)
	}
}

// transferDecoder takes a transfer encoding away (RFC 2045 §6).
func transferDecoder(name string, r io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	}
	return r
}

// charset makes UTF-8 of a character set that is known.
func charset(name string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(name) {
	case "", "us-ascii", "utf-8", "utf8":
		return r, nil
	case "iso-8859-1", "latin1":
		return &latin1{r: bufio.NewReader(r)}, nil
	}
	return nil, fmt.Errorf("the character set %q is not known", name)
}

// latin1 reads ISO-8859-1, whose octets are the first characters of Unicode.
type latin1 struct{ r *bufio.Reader }

// Read fills half of p at the most, for a character may take two octets.
func (l *latin1) Read(p []byte) (n int, err error) {
	for n+2 <= len(p) {
		if n > 0 && l.r.Buffered() == 0 {
			return n, nil
		}
		b, err := l.r.ReadByte()
		if err != nil {
			return n, err
		}
		n += copy(p[n:], string(rune(b)))
	}
	return n, nil
}
