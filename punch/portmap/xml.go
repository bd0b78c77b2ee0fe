package portmap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What a router's XML may be like.
const (
	maxDepth    = 32
	maxElements = 4096
	maxText     = 4096
)

// scan reads XML and calls leave at the end of each element, with its name without
// namespace, the names of those around it, and the text in it that is in no other.
// There are no entities but XML's own, and a document type is refused.
func scan(data []byte, leave func(name string, around []string, text string)) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // what matters is ASCII
	var names []string
	var texts [maxDepth + 1]strings.Builder
	for elements := 0; ; {
		t, err := d.Token()
		switch {
		case err == io.EOF && elements > 0:
			return nil
		case err != nil:
			return bad("its XML cannot be read: %v", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return bad("its XML has a document type, which is refused")
		case xml.StartElement:
			if elements++; elements > maxElements || len(names) == maxDepth {
				return bad("its XML has more than %d elements or is more than %d deep", maxElements, maxDepth)
			}
			names = append(names, t.Name.Local)
			texts[len(names)].Reset()
		case xml.CharData:
			if b := &texts[len(names)]; b.Len()+len(t) <= maxText {
				b.Write(t)
			}
		case xml.EndElement:
			last := len(names) - 1
			leave(names[last], names[:last], strings.TrimSpace(texts[last+1].String()))
			names = names[:last]
		}
	}
}

// service is one of a gateway's services.
type service struct {
	urn     string
	control string // a URL, as the router wrote it
}

const servicePrefix = "urn:schemas-upnp-org:service:"

// parseDescription finds the services of a device description, at most 64 of them.
func parseDescription(data []byte) (all []service, base string, err error) {
	var s service
	err = scan(data, func(name string, around []string, text string) {
		switch name {
		case "serviceType":
			s.urn = text
		case "controlURL":
			s.control = text
		case "URLBase":
			base = text
		case "service":
			if len(all) < 64 && s.urn != "" && s.control != "" {
				all = append(all, s)
			}
			s = service{}
		}
	})
	return all, base, err
}

// arg is an argument of a SOAP action.
type arg struct{ name, value string }

// soapRequest is the HTTP request for an action.
func soapRequest(at place, urn, action string, args ...arg) []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`)
	fmt.Fprintf(&b, `<u:%s xmlns:u="%s">`, action, urn)
	for _, a := range args {
		b.WriteString("<" + a.name + ">")
		_ = xml.EscapeText(&b, []byte(a.value)) // a strings.Builder does not fail
		b.WriteString("</" + a.name + ">")
	}
	fmt.Fprintf(&b, "</u:%s></s:Body></s:Envelope>", action)
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"%s#%s\"\r\n"+
		"Content-Length: %d\r\nConnection: close\r\nUser-Agent: bradawl UPnP/1.1\r\n\r\n%s", at.path, host(at), urn, action, b.Len(), b.String())
}

func getRequest(at place) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUser-Agent: bradawl UPnP/1.1\r\n\r\n", at.path, host(at))
}

func host(at place) string {
	a := at.addr.Addr().WithZone("")
	if a.Is6() {
		return "[" + a.String() + "]:" + strconv.Itoa(int(at.addr.Port()))
	}
	return a.String() + ":" + strconv.Itoa(int(at.addr.Port()))
}

// parseSOAP reads the answer to an action: its arguments by name, or a *RouterError.
func parseSOAP(status int, body []byte, action string) (map[string]string, error) {
	args := make(map[string]string)
	answered, fault := false, false
	err := scan(body, func(name string, around []string, text string) {
		answered = answered || name == action+"Response"
		fault = fault || name == "Fault"
		if len(args) < 64 {
			args[name] = text
		}
	})
	var re *RouterError
	switch {
	case err != nil && status != 200 && errors.As(err, &re):
		return nil, statusError(status) // a page for people
	case err != nil:
		return nil, err
	case fault:
		code, err := strconv.Atoi(args["errorCode"])
		if err != nil || code <= 0 {
			return nil, bad("its fault tells no error code")
		}
		name, ok := upnpErrors[code]
		if !ok {
			name = "unknown error"
		}
		return nil, &RouterError{Code: code, Name: name, Text: clip(args["errorDescription"])}
	case status != 200:
		return nil, statusError(status)
	case !answered:
		return nil, bad("its answer is none to %s", action)
	}
	return args, nil
}

// clip makes a router's words fit for a log line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return ' '
		}
		return r
	}, s)
	if len(s) > 128 {
		s = s[:128]
	}
	return strings.ToValidUTF8(s, "")
}
