package smtpserver

import "time"

// pace is how fast content comes.
type pace struct {
	begin  time.Time // when the transfer began
	octets int64     // since then
}

// contentDeadline is when the next octets of content must be here: at the end
// of the idle time, and not so late that all of it came too slowly.
func (s *session) contentDeadline() time.Time {
	deadline := time.Now().Add(s.server.IdleTimeout)
	if s.server.MinRate <= 0 {
		return deadline
	}
	slowest := time.Duration(float64(s.pace.octets) / float64(s.server.MinRate) * float64(time.Second))
	if last := s.pace.begin.Add(s.server.IdleTimeout + slowest); last.Before(deadline) {
		return last
	}
	return deadline
}
