//go:build !interop

package main_test

// kills is how often TestCrash kills the program.
const kills = 5
