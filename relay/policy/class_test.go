package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"waypost/relay/smtp"
)

func TestClasses(t *testing.T) {
	any := Class{MinPriority: -9, MaxPriority: 9}
	rule := func(name string, edit func(*Class)) Class {
		c := any
		c.Name = name
		edit(&c)
		return c
	}
	all := Classes{
		rule("urgent", func(c *Class) { c.MinPriority = 4 }),
		rule("otp", func(c *Class) { c.Key, c.From, c.To = "class[1]", []string{"login@a.test"}, []string{".b.test"} }),
		rule("shop", func(c *Class) { c.Logins = []string{"shop"} }),
		rule("office", func(c *Class) {
			c.Networks, c.Headers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"X-Office"}
		}),
		rule("bulk", func(c *Class) { c.Key, c.Headers = "class[4]", []string{"List-Id", "Precedence: bulk"} }),
		rule("report", func(c *Class) { c.From = []string{"<>"} }),
	}
	path := func(s string) smtp.Path {
		p, _ := smtp.SplitPath(s, false)
		return p
	}
	for _, tc := range []struct {
		name, from, to string
		client         Client
		priority       int
		fields         []Field
		want, rule     string
	}{
		{name: "nothing fits", from: "a@a.test", to: "b@b.test"},
		{name: "priority", from: "login@a.test", to: "b@b.test", priority: 4, want: "urgent", rule: "priority 4"},
		{name: "sender and recipient", from: "LOGIN@A.test", to: "b@x.b.test", want: "otp", rule: "class[1] from login@a.test, to .b.test"},
		{name: "only the sender", from: "login@a.test", to: "b@c.test"},
		{name: "login", from: "a@a.test", to: "b@b.test", client: Client{Login: "shop"}, want: "shop", rule: "login"},
		{name: "another login", from: "a@a.test", to: "b@b.test", client: Client{Login: "shop2"}},
		{
			name: "network and header", from: "a@a.test", to: "b@b.test", client: Client{Addr: netip.MustParseAddr("::ffff:10.1.1.1")},
			fields: []Field{{"x-office", ""}}, want: "office", rule: "network 10.0.0.0/8, header X-Office",
		},
		{name: "only the network", from: "a@a.test", to: "b@b.test", client: Client{Addr: netip.MustParseAddr("10.1.1.1")}},
		{name: "header's value", from: "a@a.test", to: "b@b.test", fields: []Field{{"precedence", " BULK "}}, want: "bulk", rule: "class[4] header Precedence: bulk"},
		{name: "another value", from: "a@a.test", to: "b@b.test", fields: []Field{{"precedence", " first-class"}}},
		{name: "null sender", to: "b@b.test", want: "report", rule: "from <>"},
	} {
		m := &Mail{Sender: path(tc.from), Recipients: []smtp.Path{path(tc.to)}, Client: tc.client, Priority: tc.priority, Fields: tc.fields}
		if class, rule := all.Sort(m); class != tc.want || rule != tc.rule {
			t.Errorf("%s: %q by %q, want %q by %q", tc.name, class, rule, tc.want, tc.rule)
		}
	}
	two := &Mail{Sender: path("login@a.test"), Recipients: []smtp.Path{path("b@b.test"), path("c@c.test")}}
	if class, _ := all.Sort(two); class != "" {
		t.Errorf("with one recipient of two that matches: %q", class)
	}
	if got := fmt.Sprint(all.HeaderNames()); got != "[x-office list-id precedence]" {
		t.Errorf("header names: %s", got)
	}
}
