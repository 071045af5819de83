//go:build !race

package smtpserver

// raceDetector says that memory is not what it is in the program.
const raceDetector = false
