package sendmail

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]Arguments{
		"r@b.test":                          {Recipients: []string{"r@b.test"}},
		"-t":                                {FromHeader: true},
		"-t -i":                             {FromHeader: true, KeepDots: true},
		"-ti":                               {FromHeader: true, KeepDots: true},
		"-tif s@a.test":                     {FromHeader: true, KeepDots: true, From: "s@a.test", Named: true},
		"-oi -f s@a.test -- -odd@b.test":    {KeepDots: true, From: "s@a.test", Named: true, Recipients: []string{"-odd@b.test"}},
		"-f<> r@b.test":                     {Named: true, Recipients: []string{"r@b.test"}},
		"-rs@a.test r@b.test":               {From: "s@a.test", Named: true, Recipients: []string{"r@b.test"}},
		"-FCron -odi -oem -oi -t -f root":   {FullName: "Cron", KeepDots: true, FromHeader: true, From: "root", Named: true}, // cron
		"-FCronDaemon -i -B8BITMIME -oem r": {FullName: "CronDaemon", KeepDots: true, Recipients: []string{"r"}},
		"-v -Nnever -R hdrs -V id -t":       {Verbose: true, Notify: "NEVER", Return: "HDRS", EnvelopeID: "id", FromHeader: true},
		"-N success,failure r":              {Notify: "SUCCESS,FAILURE", Recipients: []string{"r"}},
		"-O IgnoreDots -G -h 5 -m -n -U r":  {KeepDots: true, Recipients: []string{"r"}},
		"-bs":                               {Mode: Session},
		"-bp":                               {Mode: List},
		"-bi":                               {Mode: Aliases},
		"-q":                                {Mode: Flush},
		"-bm r":                             {Recipients: []string{"r"}},
		"-":                                 {Recipients: []string{"-"}},
	} {
		if got, err := Parse(strings.Fields(line)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}
	if got, err := Parse([]string{"-t", "-f", ""}); err != nil || !got.Named || got.From != "" {
		t.Errorf("empty sender: %+v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":               "no recipients",
		"-i":             "no recipients",
		"-z r":           "unknown flag -z",
		"-tz":            "unknown flag -z",
		"-f":             "-f needs a value",
		"-bd":            "-bd is not known",
		"-b":             "-b is not known",
		"-q30m":          "only -q is known",
		"-R none r":      "-R is full or hdrs",
		"-N now r":       "-N is never",
		"-N never,delay": "-N is never",
	} {
		if _, err := Parse(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
