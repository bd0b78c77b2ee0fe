package talk

import (
	"fmt"
	"time"
)

// Text is the event as a line for people; "" for one that is told elsewhere.
func (e Event) Text() string {
	switch e.Event {
	case "connected":
		return fmt.Sprintf("connected: %s path over %s, %s -> %s, %d ms after both were there", e.Path, e.Proto, e.Local, e.Remote, *e.MS)
	case "upgraded", "moved":
		return fmt.Sprintf("%s: now a %s path over %s, %s -> %s, after %d ms", e.Event, e.Path, e.Proto, e.Local, e.Remote, *e.MS)
	case "echo":
		return fmt.Sprintf("%d of %d messages came back, median round trip %v", *e.Echoed, *e.Sent, time.Duration(*e.RTTus)*time.Microsecond)
	}
	return ""
}
