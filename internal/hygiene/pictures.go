package hygiene

import (
	"encoding/xml"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"
)

const rulePictures = "pictures"

// checkPictures finds SVG pictures of documents that are not well-formed, that a reader
// without eyes or in the dark cannot read, and that want something from elsewhere: hosts of
// code show them as images, which may load and run nothing.
func checkPictures(t *tree) []finding {
	var found []finding
	for _, f := range t.text {
		if path.Ext(f.path) != ".svg" || !within(f.path, "docs") {
			continue
		}
		bad := func(what, remedy string) { found = append(found, f.at(1, rulePictures, what, remedy)) }
		elements, outside, err := partsOf(f.src)
		switch {
		case err != nil:
			bad("no well-formed XML: "+err.Error(), "mend it")
		case !elements["title"] || !elements["desc"]:
			bad("no title or no desc", "say in words what the picture shows")
		case !strings.Contains(string(f.src), "prefers-color-scheme: dark"):
			bad("no colours for the dark", "add them in a style for prefers-color-scheme, as the other pictures do")
		case elements["script"] || elements["foreignObject"] || outside != "":
			bad("it runs something, or wants something from elsewhere: "+outside, "draw it with shapes and text alone")
		}
	}
	return found
}

// reference is one within a style, be it of an element or in an attribute.
var reference = regexp.MustCompile(`(?i)@import|url\(\s*["']?[^#"'\s][^)]*`)

// partsOf lists the elements of a picture, and returns the last thing that leads out of it, or
// that is run.
func partsOf(src []byte) (elements map[string]bool, outside string, err error) {
	elements = make(map[string]bool)
	d := xml.NewDecoder(strings.NewReader(string(src)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, outside, nil
		}
		if err != nil {
			return nil, "", err
		}
		switch e := token.(type) {
		case xml.StartElement:
			elements[e.Name.Local] = true
			for _, a := range e.Attr {
				switch name := strings.ToLower(a.Name.Local); {
				case name == "href" || name == "src":
					if !strings.HasPrefix(a.Value, "#") {
						outside = a.Value
					}
				case strings.HasPrefix(name, "on"):
					outside = name
				case reference.MatchString(a.Value):
					outside = reference.FindString(a.Value)
				}
			}
		case xml.CharData:
			if reference.Match(e) {
				outside = string(reference.Find(e))
			}
		case xml.ProcInst:
			if e.Target != "xml" {
				outside = e.Target
			}
		case xml.Directive:
			outside = string(e) // entities may be anything
		}
	}
}
