package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// TestDelayIsReported: who asked for it hears of a delay, and who said nothing; for
// no report is there one (RFC 3461 §5.2.5).
func TestDelayIsReported(t *testing.T) {
	for _, row := range []struct {
		name, from string
		notify     smtp.Notify
		want       int
	}{
		{"3461-5.2.5-a nothing said", "s@a.test", 0, 1},
		{"3461-5.2.5-a asked for", "s@a.test", smtp.NotifyDelay, 1},
		{"3461-5.2.5-a only failures", "s@a.test", smtp.NotifyFailure, 0},
		{"3461-5.2.5-a only success", "s@a.test", smtp.NotifySuccess, 0},
		{"3461-5.2.5-a never", "s@a.test", smtp.NotifyNever, 0},
		{"3461-5.2-a null sender", "", smtp.NotifyDelay, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
				q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
				defer running(t, q)()
				d := q.NewDraft()
				if err := d.Commit(Envelope{ReversePath: path(row.from)}, []Recipient{{Path: path("r@b.test"), Notify: row.notify}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if got := w.reported(); len(got) != row.want || row.want == 1 && got[0].Kind != ReportDelay {
					t.Errorf("reports: %+v", got)
				}
			})
		})
	}
}

// TestEnvelopeOfAReport: a report goes from nobody, asks for none, and has the
// protection of its message (RFC 3461 §6.1, RFC 8689 §5).
//
// 3461-6.1-a 5321-4.5.5-a 8689-c D-09
func TestEnvelopeOfAReport(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, deferred("later"))
			}
			return all(d, Result{State: Failed})
		}
		q := open(t, w, nil)
		defer running(t, q)()
		d := q.NewDraft()
		if err := d.Commit(Envelope{ReversePath: path("s@a.test"), Return: "FULL", EnvelopeID: "x", RequireTLS: true},
			[]Recipient{{Path: path("r@b.test"), Notify: smtp.NotifyFailure, OriginalRecipient: "rfc822;x@y.test"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		list, _, err := q.List(Filter{}, 0, 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		e, err := q.Show(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if !e.ReversePath.IsNull() || e.Return != "" || e.EnvelopeID != "" || !e.RequireTLS || e.ReportOn != d.ID() {
			t.Errorf("the report's envelope is %+v", e)
		}
		to := e.Deliveries[0].Recipients
		if len(to) != 1 || to[0].Path != path("s@a.test") || to[0].Notify != smtp.NotifyNever || to[0].OriginalRecipient != "" {
			t.Errorf("it goes to %+v", to)
		}
	})
}
