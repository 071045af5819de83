package relay

import (
	"fmt"

	"waypost/configs"
	"waypost/queue"
)

// CheckStorage looks at the file system of the data directory. An error says
// that mail would not be safe there, a warning that it may not be. It opens
// nothing and makes nothing.
func CheckStorage(c *configs.Config) (warning string, err error) {
	f, err := queue.FileSystemOf(c.DataDir)
	if err != nil {
		// It may be that only the service's user may look, and opening the
		// queue says what is wrong in more words than this could.
		return "", nil
	}
	switch {
	case f.Volatile && !c.Queue.Ephemeral:
		return "", fmt.Errorf("the data directory %s is on %s, and mail there does not outlive the host or the container: "+
			"set data_dir to a directory on a disk or a volume, or allow it with queue.ephemeral = true (WAYPOST_QUEUE_EPHEMERAL=true)",
			c.DataDir, f.Name)
	case f.Volatile:
		return fmt.Sprintf("the data directory %s is on %s: acknowledged mail is lost with the host or the container, as queue.ephemeral allows",
			c.DataDir, f.Name), nil
	case f.Network:
		return fmt.Sprintf("the data directory %s is on %s: network file systems do not always keep what they say is synced, nor locks",
			c.DataDir, f.Name), nil
	}
	return "", nil
}
