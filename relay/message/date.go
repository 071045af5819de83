package message

import "time"

// dateLayout is the date-time of RFC 5322 §3.3: numeric zone and a year of
// four digits, both of which RFC 5321 §4.4 asks for as well.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// Date returns t as header fields write it, in t's own zone:
// "Mon, 2 Jan 2006 15:04:05 +0000" (RFC 5322 §3.3).
func Date(t time.Time) string { return t.Format(dateLayout) }
