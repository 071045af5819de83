package letter

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const mixed = "Received: by relay.example\r\n\tid 1\r\nSubject: =?utf-8?q?p=C5=99=C3=ADklad?= and =?iso-8859-1?q?caf=E9?=\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n" +
	"--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 and a long =\r\nline\r\n" +
	"--c\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+xZlsaWQ8L2I+\r\n--c--\r\n" +
	"--b\r\nContent-Type: image/png; name=x\r\nContent-Disposition: attachment; filename=\"a b.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\nAAAA\r\n" +
	"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner text\r\n--b\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\nx\r\n--b--\r\nepilogue\r\n"

func TestDecode(t *testing.T) {
	const header = "Received: by relay.example id 1\nSubject: příklad and café\nContent-Type: multipart/mixed; boundary=b\n"
	const body = "[part 1.1: text/plain]\ncafé and a long line\n[part 1.2: text/html]\n<b>řlid</b>\n[part 2: image/png, 6 octets, \"a b.png\"]\n" +
		"[part 3: message/rfc822]\nSubject: inner\n\n[part 3: text/plain]\ninner text\n[part 4: text/plain]\n[in \"koi8-r\", as it is]\nx\n"
	for _, test := range []struct {
		name, content string
		wanted        Section
		want          string
	}{
		{"whole", mixed, Whole, header + "\n" + body},
		{"header", mixed, Header, header},
		{"body", mixed, Body, body},
		{"plain", "Subject: x\r\n\r\nHello.\r\nBye", Whole, "Subject: x\n\nHello.\nBye\n"},
		{"no header", "\r\nHello.\r\n", Whole, "\nHello.\n"},
		{"no body", "Subject: x\r\n", Whole, "Subject: x\n\n"},
		{"no message", "", Whole, "\n"},
		{"no field", "what?\r\n x\r\nA : b\r\n\r\n", Header, "what? x\nA: b\n"},
		{"a hidden line end", "Subject: =?utf-8?q?a=0D=0AX:_y?=\r\n\r\n", Header, "Subject: a  X: y\n"},
		{"an encoded word that is none", "Subject: =?klingon?q?x?=\r\n\r\n", Header, "Subject: =?klingon?q?x?=\n"},
		{"bad base64", "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8h!!!!\r\n", Body, "Hello!\n[what follows cannot be decoded: illegal base64 data at input byte 0]\n"},
		{"no end", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n", Body, "[part 1: text/plain]\nx\r\n[what follows cannot be decoded: unexpected EOF]\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := Decode(&out, iotest.OneByteReader(strings.NewReader(test.content)), test.wanted); err != nil {
				t.Error(err)
			}
			if got := out.String(); got != strings.ReplaceAll(test.want, "x\r\n", "x\n") {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}

// What is nested or repeated without end has one here.
func TestDecodeIsBounded(t *testing.T) {
	nested := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10_000)
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n"
	for name, content := range map[string]string{"nested": nested, "many": many, "header": strings.Repeat("x: y\r\n", 1_000_000)} {
		var out strings.Builder
		if err := Decode(&out, strings.NewReader(content), Body); err != nil || out.Len() > 100_000 && name != "header" {
			t.Errorf("%s: %d octets, %v", name, out.Len(), err)
		}
		if name != "header" && !strings.Contains(out.String(), "is left out: there are too many parts") {
			t.Errorf("%s: nothing says that something is left out", name)
		}
	}
}

func TestWrite(t *testing.T) {
	for wanted, want := range map[Section]string{
		Whole:  mixed,
		Header: mixed[:strings.Index(mixed, "\r\n\r\n")+2],
		Body:   mixed[strings.Index(mixed, "\r\n\r\n")+4:],
	} {
		var out strings.Builder
		if err := Write(&out, iotest.OneByteReader(strings.NewReader(mixed)), wanted); err != nil || out.String() != want {
			t.Errorf("%d: %q, %v", wanted, out.String(), err)
		}
	}
	long := strings.Repeat("x", 10_000) + "\r\n"
	var out strings.Builder
	if err := Write(&out, strings.NewReader(long), Header); err != nil || out.String() != long {
		t.Errorf("a long line: %d octets, %v", out.Len(), err)
	}
	broken := errors.New("broken")
	for _, wanted := range []Section{Whole, Header, Body} {
		if err := Write(&out, iotest.ErrReader(broken), wanted); !errors.Is(err, broken) {
			t.Errorf("%d: %v", wanted, err)
		}
		if err := Decode(&out, iotest.ErrReader(broken), wanted); !errors.Is(err, broken) {
			t.Errorf("%d, decoded: %v", wanted, err)
		}
	}
}

// FuzzDecode: whatever a message is, there is an end, and no error of its own.
func FuzzDecode(f *testing.F) {
	f.Add(mixed)
	f.Add("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\nLS1i\r\n")
	f.Fuzz(func(t *testing.T, content string) {
		var out strings.Builder
		if err := Decode(&out, strings.NewReader(content), Whole); err != nil {
			t.Error(err)
		}
	})
}

func TestRead(t *testing.T) {
	const content = "Subject: =?utf-8?q?p=C5=99=C3=ADklad?=\r\n folded\r\nno field\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVs\r\nbG8=\r\n"
	for _, test := range []struct {
		name    string
		wanted  Section
		decoded bool
		header  string
		body    string
	}{
		{"as it is", Whole, false, "[{Subject =?utf-8?q?p=C5=99=C3=ADklad?= folded} { no field} {Content-Transfer-Encoding base64}]", "SGVs\r\nbG8=\r\n"},
		{"decoded", Whole, true, "[{Subject příklad folded} { no field} {Content-Transfer-Encoding base64}]", "Hello\n"},
		{"header", Header, true, "[{Subject příklad folded} { no field} {Content-Transfer-Encoding base64}]", ""},
		{"body", Body, false, "[]", "SGVs\r\nbG8=\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, body, err := Read(iotest.OneByteReader(strings.NewReader(content)), test.wanted, test.decoded)
			if err != nil || fmt.Sprint(header) != test.header || string(body) != test.body {
				t.Errorf("got %v, %q, %v", header, body, err)
			}
		})
	}
	cut := errors.New("cut off")
	for _, wanted := range []Section{Whole, Header, Body} {
		in := io.MultiReader(strings.NewReader("Subject: x\r\n\r\nHel"), iotest.ErrReader(cut))
		if _, _, err := Read(in, wanted, false); !errors.Is(err, cut) {
			t.Errorf("%d: %v", wanted, err)
		}
	}
}
