package hygiene

import "testing"

func TestLinks(t *testing.T) {
	const fence = "```"
	for _, tt := range []struct {
		name, path, src string
		line            int
		says            string
	}{
		{"no file", "docs/a.md", "# A\n\nsee [b](c.md)\n", 3, "no file"},
		{"of the folder above", "docs/a.md", "[b](docs/b.md)\n", 1, "no file"},
		{"no heading", "docs/a.md", "[b](b.md#nothing)\n", 1, "no heading"},
		{"no heading of its own", "docs/a.md", "# A\n[b](#b)\n", 2, "no heading"},
		{"in capitals", "docs/a.md", "[b](b.md#The-first)\n", 1, "no heading"},
		{"a picture", "docs/a.md", "![x](pictures/y.svg)\n", 1, "no file"},
		{"a picture in HTML", "docs/a.md", `<img src="y.svg" alt="x">`, 1, "no file"},
		{"by reference", "docs/a.md", "[b]\n\n[b]: c.md\n", 3, "no file"},
		{"absolute", "docs/a.md", "[b](/docs/b.md)\n", 1, "not relative"},
		{"no path", "docs/a.md", "[b](%zz)\n", 1, "no path"},
		{"in a table, the second", "docs/a.md", "| [b](b.md) | [c](c.md) |\n", 1, "no file"},
		{"after code", "docs/a.md", "`` ` `` and `x` [c](c.md)\n", 1, "no file"},
		{"after a block", "docs/a.md", "~~~~\n~~~\n~~~~\n[c](c.md)\n", 4, "no file"},
		{"a heading in a block is none", "docs/a.md", fence + "\n# X\n" + fence + "\n[x](#x)\n", 4, "no heading"},

		{"in parentheses", "docs/a.md", "(see [b](c_(d).md))\n", 1, "no file"},
		{"with blanks", "docs/a.md", "[b](<c d.md>)\n", 1, "no file"},
		{"undefined", "docs/a.md", "[b][c]\n\n[b]: b.md\n", 1, "nowhere"},
		{"undefined, by its text", "docs/a.md", "[b][]\n", 1, "nowhere"},
		{"a footnote", "docs/a.md", "a[^1]\n\n[^1]: note\n", 0, ""},
		{"defined", "docs/a.md", "[b][C] [b][] `x[i][j]` [b](<b.md>) [b](x(1).md)\n\n[c]: b.md\n[B]: <b.md>\n", 0, ""},

		{"all of it", "docs/a.md", "# A\n[b](b.md) [b](../docs/b.md \"B\") [b](<b.md>) [1](b.md#the-first) [2](b.md#the-first-1) [3](b.md#not-a_b-link-2)\n" +
			"[own](b.md#own) [a](#a) [root](..) [code](../punch) ![x](x.svg) [x](x.svg#part)\n", 0, ""},
		{"elsewhere", "docs/a.md", "[b](https://example.org/x.md#y) [m](mailto:a@example.org) [s](//example.org/x)\n", 0, ""},
		{"in code", "docs/a.md", "`[b](c.md)` ``[b](`c.md)``\n\n" + fence + "text\n[b](c.md)\n" + fence + "\n", 0, ""},
		{"no Markdown", "docs/a.txt", "[b](c.md)\n", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := new(tree)
			for name, src := range map[string]string{
				tt.path:        tt.src,
				"docs/b.md":    "# The first\n## The first\n\n### Not: a_b, `[link](x.md)` (2) ###\n<a id=\"own\"></a>\n",
				"docs/x.svg":   "<svg/>",
				"docs/x(1).md": "# X\n",
				"punch/doc.go": "package punch\n",
			} {
				if err := tr.add(name, []byte(src)); err != nil {
					t.Fatal(err)
				}
			}
			judge(t, checkLinks(tr), tt.path, tt.line, tt.says)
		})
	}
}
