package hygiene

import "testing"

func TestPictures(t *testing.T) {
	const (
		head  = `<svg xmlns="http://www.w3.org/2000/svg"><title>T</title><desc>D</desc>`
		style = `<style>@media (prefers-color-scheme: dark) { text { fill: #fff; } }</style>`
	)
	for _, tt := range []struct {
		name, path, src string
		line            int
		says            string
	}{
		{"not closed", "docs/a.svg", head + style, 1, "well-formed"},
		{"without words", "docs/a.svg", `<svg xmlns="http://www.w3.org/2000/svg"><title>T</title>` + style + `</svg>`, 1, "desc"},
		{"in the dark", "docs/a.svg", head + `</svg>`, 1, "dark"},
		{"a script", "docs/a.svg", head + style + `<script>x()</script></svg>`, 1, "runs"},
		{"an image", "docs/a.svg", head + style + `<image href="https://example.org/x.png"/></svg>`, 1, "elsewhere"},
		{"a font", "docs/a.svg", head + `<style>@import "x"; @media (prefers-color-scheme: dark) {}</style></svg>`, 1, "elsewhere"},
		{"an event", "docs/a.svg", `<svg xmlns="http://www.w3.org/2000/svg" onload="x()"><title>T</title><desc>D</desc>` + style + `</svg>`, 1, "onload"},
		{"a fill", "docs/a.svg", head + style + `<path fill="url(https://example.org/a.svg#b)"/></svg>`, 1, "elsewhere"},
		{"a style's", "docs/a.svg", head + style + `<path style="fill: url( 'https://example.org/a.svg#b')"/></svg>`, 1, "elsewhere"},
		{"a relative one", "docs/a.svg", head + style + `<path fill="url(b.svg#b)"/></svg>`, 1, "elsewhere"},
		{"a style sheet", "docs/a.svg", `<?xml-stylesheet href="x.css"?>` + head + style + `</svg>`, 1, "stylesheet"},
		{"an entity", "docs/a.svg", `<!DOCTYPE svg [<!ENTITY x SYSTEM "x">]>` + head + style + `</svg>`, 1, "ENTITY"},
		{"all of it, as XML", "docs/a.svg", `<?xml version="1.0"?>` + head + style + `<path fill="url('#a')" opacity="1"/></svg>`, 0, ""},
		{"all of it", "docs/a.svg", head + style + `<path marker-end="url(#a)"/><use href="#h"/></svg>`, 0, ""},
		{"no document", "stats/icon.svg", "<svg/>", 0, ""},
		{"no picture", "docs/a.txt", "<svg>", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := new(tree)
			if err := tr.add(tt.path, []byte(tt.src)); err != nil {
				t.Fatal(err)
			}
			judge(t, checkPictures(tr), tt.path, tt.line, tt.says)
		})
	}
}
