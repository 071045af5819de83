//go:build interop

package main_test

// defaultKills is how often TestCrash kills the program.
const defaultKills = 50
