package message

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"
)

// EachField calls f for each field of a header section, with its name as it is
// written and its value unfolded. A line that is no field counts for nothing.
func EachField(header []byte, f func(name, value string)) {
	for len(header) > 0 {
		end := 0
		for {
			i := bytes.IndexByte(header[end:], '\n')
			if i < 0 {
				end = len(header)
				break
			}
			if end += i + 1; end == len(header) || header[end] != ' ' && header[end] != '\t' {
				break
			}
		}
		if name, value, ok := strings.Cut(string(header[:end]), ":"); ok {
			f(strings.TrimSpace(name), strings.TrimSpace(unfold.Replace(value)))
		}
		header = header[end:]
	}
}

var unfold = strings.NewReplacer("\r", "", "\n", "")

// Addresses returns the addresses in the value of a field such as From, without
// the names beside them. A value that does not follow RFC 5322 §3.4 is an error:
// nobody knows what its reader will see.
func Addresses(value string) (all []string, err error) {
	// Names may be in any charset, and in raw octets too. They do not matter here.
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil },
	}}
	list, err := parser.ParseList(strings.ToValidUTF8(value, "?"))
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		all = append(all, a.Address)
	}
	return all, nil
}
