package configs

import (
	"reflect"
	"testing"
)

// TestLegForms: however next hops are written, they are the same.
func TestLegForms(t *testing.T) {
	want := []Leg{
		{To: "smtp://a.example:25", Weight: 3, Username: "u", PasswordFile: "/etc/waypost/password", TLS: TLSVerified, SourceAddresses: []string{"192.0.2.7"},
			Hello: "out.example", Connections: 5, MessageRate: []string{"100/1m"}},
		{To: "smtps://b.example", Weight: 1},
		{To: "mx:"},
	}
	for name, c := range map[string]*Config{
		"inline": must(t, "[[route]]\nto = \"*\"\nvia = ["+`{ to = "smtp://a.example:25", weight = 3, username = "u", password_file = "/etc/waypost/password", tls = "verified", `+
			`source_addresses = ["192.0.2.7"], hello = "out.example", connections = 5, message_rate = ["100/1m"] },`+"\n"+
			`  { to = "smtps://b.example", weight = 1 }, "mx:" ]`),
		"tables": must(t, `
[[route]]
to = "*"
[[route.via]]
to = "smtp://a.example:25"
weight = 3
username = "u"
password_file = "/etc/waypost/password"
tls = "verified"
source_addresses = ["192.0.2.7"]
hello = "out.example"
connections = 5
message_rate = ["100/1m"]
[[route.via]]
to = "smtps://b.example"
weight = 1
[[route.via]]
to = "mx:"
`),
		"environment": must(t, "", "WAYPOST_ROUTE_0_TO=*", "WAYPOST_ROUTE_0_VIA=smtp://a.example:25, smtps://b.example, mx:",
			"WAYPOST_ROUTE_0_VIA_0_WEIGHT=3", "WAYPOST_ROUTE_0_VIA_0_USERNAME=u", "WAYPOST_ROUTE_0_VIA_0_PASSWORD_FILE=/etc/waypost/password",
			"WAYPOST_ROUTE_0_VIA_0_TLS=verified", "WAYPOST_ROUTE_0_VIA_0_SOURCE_ADDRESSES=192.0.2.7", "WAYPOST_ROUTE_0_VIA_0_HELLO=out.example",
			"WAYPOST_ROUTE_0_VIA_0_CONNECTIONS=5", "WAYPOST_ROUTE_0_VIA_0_MESSAGE_RATE=100/1m", "WAYPOST_ROUTE_0_VIA_1_WEIGHT=1"),
		"by number": must(t, "[[route]]\nto = \"*\"\nvia = [\"smtp://a.example:25\"]", "WAYPOST_ROUTE_0_VIA_0_WEIGHT=3", "WAYPOST_ROUTE_0_VIA_0_USERNAME=u",
			"WAYPOST_ROUTE_0_VIA_0_PASSWORD_FILE=/etc/waypost/password", "WAYPOST_ROUTE_0_VIA_0_TLS=verified", "WAYPOST_ROUTE_0_VIA_0_SOURCE_ADDRESSES=192.0.2.7",
			"WAYPOST_ROUTE_0_VIA_0_HELLO=out.example", "WAYPOST_ROUTE_0_VIA_0_CONNECTIONS=5", "WAYPOST_ROUTE_0_VIA_0_MESSAGE_RATE=100/1m",
			"WAYPOST_ROUTE_0_VIA_1_TO=smtps://b.example", "WAYPOST_ROUTE_0_VIA_1_WEIGHT=1", "WAYPOST_ROUTE_0_VIA_2_TO=mx:"),
	} {
		if len(c.Routes) != 1 || !reflect.DeepEqual(c.Routes[0].Via, want) {
			t.Errorf("%s: %+v, want %+v", name, c.Routes, want)
		}
	}
}

// TestRouteAtALeg: what a leg leaves empty is the route's, but never a part of a
// login.
func TestRouteAtALeg(t *testing.T) {
	r := Route{To: "*", Username: "route", PasswordFile: "/route", Scope: "s", TLS: TLSRequired, TLSPins: []string{"pin"}, Hello: "route.example", SourceAddresses: []string{"192.0.2.1"}}
	for _, tc := range []struct {
		leg  Leg
		want Route
	}{
		{Leg{}, r},
		{Leg{Weight: 3, Connections: 5}, r},
		{Leg{Username: "leg"}, Route{To: "*", Username: "leg", TLS: TLSRequired, TLSPins: []string{"pin"}, Hello: "route.example", SourceAddresses: []string{"192.0.2.1"}}},
		{Leg{ClientCertificate: "/c"}, Route{To: "*", ClientCertificate: "/c", TLS: TLSRequired, TLSPins: []string{"pin"}, Hello: "route.example", SourceAddresses: []string{"192.0.2.1"}}},
		{Leg{TLS: TLSNone}, Route{To: "*", Username: "route", PasswordFile: "/route", Scope: "s", TLS: TLSNone, Hello: "route.example", SourceAddresses: []string{"192.0.2.1"}}},
		{Leg{TLSCA: "/ca"}, Route{To: "*", Username: "route", PasswordFile: "/route", Scope: "s", TLS: TLSRequired, TLSCA: "/ca", Hello: "route.example", SourceAddresses: []string{"192.0.2.1"}}},
		{Leg{Hello: "leg.example", SourceAddresses: []string{"::1"}}, Route{To: "*", Username: "route", PasswordFile: "/route", Scope: "s", TLS: TLSRequired, TLSPins: []string{"pin"}, Hello: "leg.example", SourceAddresses: []string{"::1"}}},
	} {
		r := r
		r.Via = []Leg{tc.leg}
		got := r.At(0)
		got.Via = nil
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("at %+v it is %+v, want %+v", tc.leg, got, tc.want)
		}
	}
}

// TestNoKeyOfALegIsForgotten: what a leg has in common with a route or with a rule
// about pace holds there, whichever key it is.
func TestNoKeyOfALegIsForgotten(t *testing.T) {
	for field := range reflect.TypeFor[Leg]().Fields() {
		var l Leg
		value := reflect.ValueOf(&l).Elem().FieldByName(field.Name)
		switch value.Kind() {
		case reflect.String:
			value.SetString("x")
		case reflect.Int:
			value.SetInt(7)
		default:
			value.Set(reflect.ValueOf([]string{"x"}))
		}
		at := reflect.ValueOf(Route{Via: []Leg{l}}.At(0)).FieldByName(field.Name)
		limits := reflect.ValueOf(l.Limits("leg")).FieldByName(field.Name)
		switch {
		case field.Name == "To" || field.Name == "Weight":
		case at.IsValid() && !reflect.DeepEqual(at.Interface(), value.Interface()):
			t.Errorf("%s is forgotten where the route is asked for", field.Name)
		case limits.IsValid() && (!reflect.DeepEqual(limits.Interface(), value.Interface()) || !l.OwnLimits()):
			t.Errorf("%s is forgotten where the limits are asked for", field.Name)
		case !at.IsValid() && !limits.IsValid():
			t.Errorf("%s is in neither", field.Name)
		}
	}
}
