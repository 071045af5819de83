package configs

import (
	"fmt"
	"strings"
	"time"
)

// ParseRate reads how much is let through within a time: "100/1h", or "1GB/1d".
// Both are at least 1, of a second for the time. "" is no bound, which is 0, 0.
func ParseRate(s string) (amount int64, within time.Duration, err error) {
	if s == "" {
		return 0, 0, nil
	}
	number, span, ok := strings.Cut(s, "/")
	if !ok {
		return 0, 0, fmt.Errorf("%q is not an amount in a time, such as \"100/1h\"", s)
	}
	size, err := ParseSize(number)
	if err != nil || size < 1 {
		return 0, 0, fmt.Errorf("%q has no amount of at least 1 before its \"/\"", s)
	}
	duration, err := ParseDuration(span)
	if err != nil || duration < second {
		return 0, 0, fmt.Errorf("%q has no time of at least 1s behind its \"/\"", s)
	}
	return int64(size), time.Duration(duration), nil
}

// Rate is one of the limits on what is sent within a time.
type Rate struct {
	// Key is its last part in the configuration: "messages_per_client".
	Key string
	// Value is as in the configuration.
	Value string
}

// Rates lists all limits on what is sent within a time, those that are not set
// included.
func (l Limits) Rates() []Rate {
	return []Rate{
		{"messages_per_client", l.MessagesPerClient}, {"recipients_per_client", l.RecipientsPerClient}, {"bytes_per_client", l.BytesPerClient},
		{"messages_per_login", l.MessagesPerLogin}, {"recipients_per_login", l.RecipientsPerLogin}, {"bytes_per_login", l.BytesPerLogin},
		{"messages_per_sender", l.MessagesPerSender}, {"recipients_per_sender", l.RecipientsPerSender}, {"bytes_per_sender", l.BytesPerSender},
	}
}
