package letter

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"net/textproto"
	"strings"
)

// Field is one field of a header section, unfolded.
type Field struct {
	// Name is empty where a line of the header section is no field.
	Name string `json:"name"`
	// Value is what stands behind the colon, on one line.
	Value string `json:"value"`
}

// readHeader reads the header section, or as much as there may be.
func readHeader(in *bufio.Reader) (all []Field, err error) {
	for octets := 0; octets < maxHeader; {
		line, err := in.ReadString('\n')
		octets += len(line)
		text := strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(text, ":")
		switch {
		case text == "" && line != "":
			return all, nil
		case text == "":
		case (text[0] == ' ' || text[0] == '\t') && len(all) > 0:
			all[len(all)-1].Value += " " + strings.TrimSpace(text)
		case ok:
			all = append(all, Field{strings.TrimRight(name, " \t"), strings.TrimSpace(value)})
		default:
			all = append(all, Field{"", text}) // no field, and shown all the same
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func get(header []Field, name string) string {
	for _, f := range header {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// decodeWords decodes the encoded words of a field (RFC 2047). A line end that was
// hidden in one becomes a blank.
func decodeWords(value string) string {
	words := mime.WordDecoder{CharsetReader: charset}
	decoded, err := words.DecodeHeader(value)
	if err != nil {
		return value
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(decoded)
}

func fileName(header []Field, parameters map[string]string) string {
	if _, p, err := mime.ParseMediaType(get(header, "Content-Disposition")); err == nil && p["filename"] != "" {
		return p["filename"]
	}
	return parameters["name"]
}

func fields(h textproto.MIMEHeader) (all []Field) {
	for name, values := range h {
		all = append(all, Field{name, values[0]})
	}
	return all
}
