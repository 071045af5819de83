package inbound

import (
	"fmt"
	"testing"

	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/smtp"
)

// members are the first n addresses of a list.
func members(n int, owner smtp.Path) (all []alias.Member) {
	for i := range n {
		all = append(all, alias.Member{Path: smtp.Path{Local: fmt.Sprint("u", i), Domain: "b.example"}, Owner: owner})
	}
	return all
}

// Aliases have members in common, and each gets a message once, however many they
// are.
func TestRecipientsOfSeveralAliases(t *testing.T) {
	owner := smtp.Path{Local: "owner", Domain: "a.example"}
	for _, n := range []int{0, 1, few - 1, few, few + 1, few + 2, 10 * few} {
		for _, of := range []smtp.Path{{}, owner} {
			s := &session{}
			for _, size := range []int{n / 2, n, n} {
				s.expand(&queue.Recipient{Path: smtp.Path{Local: "list", Domain: "a.example"}}, &alias.Alias{Members: members(size, of)})
			}
			got := s.tx.recipients.all
			if of == owner && n > 0 {
				got = s.tx.lists[0].recipients.all
			}
			if len(got) != n {
				t.Fatalf("%d recipients, want %d", len(got), n)
			}
			for i, m := range members(n, of) {
				if got[i].Path != m.Path {
					t.Errorf("recipient %d of %d is %s, want %s", i, n, got[i].Path, m.Path)
				}
			}
		}
	}
}

// BenchmarkExpand is a list of n members: what each costs must not depend on n.
func BenchmarkExpand(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := &alias.Alias{Members: members(n, smtp.Path{})}
			for b.Loop() {
				new(session).expand(&queue.Recipient{Path: smtp.Path{Local: "list", Domain: "a.example"}}, a)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/member")
		})
	}
}

// A list with more members than one message is to have gets several.
func TestLargeListGetsSeveralMessages(t *testing.T) {
	b, q := newBackend(t, nil, 0)
	for i, owner := range []smtp.Path{{}, {Local: "owner", Domain: "a.example"}} {
		s := &session{backend: b}
		s.expand(&queue.Recipient{Path: smtp.Path{Local: "list", Domain: "a.example"}}, &alias.Alias{Members: members(mostTogether+1, owner)})
		for _, o := range s.outgoing() {
			if o.owner != owner {
				t.Errorf("the owner is %s, want %s", o.owner, owner)
			}
			if err := o.draft.Commit(queue.Envelope{}, o.recipients); err != nil {
				t.Fatal(err)
			}
		}
		if got := q.Stats(); got.Messages != int64(2*(i+1)) || got.Queued != int64((mostTogether+1)*(i+1)) {
			t.Errorf("%d messages with %d recipients", got.Messages, got.Queued)
		}
	}
}
