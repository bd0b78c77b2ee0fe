package hygiene

import "testing"

func TestTranslation(t *testing.T) {
	const original = "# Name\n\nIt is quick.\n\n```sh\ngo test ./... // all\n```\n\n- one\n\n| [`a`](a) | 3 % in 2 s |\n"
	for _, tt := range []struct {
		name, translation string
		line              int
	}{
		{"the same in other words", "# 名\n\n很快。\n\n```sh\ngo test ./... // 全部\n```\n\n- 一\n\n| 2 s 内 3 %：[甲](a) |  |\n", 0},
		{"another command", "# 名\n\n```sh\ngo test .\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n", 1},
		{"another figure", "# 名\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 4 % |\n", 1},
		{"another link", "# 名\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](b) | 2 s 3 % |\n", 1},
		{"a section less", "```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n", 1},
		{"a row more", "# 名\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n| | |\n", 1},
		{"other code in prose", "# 名\n\n很快：`go test`。\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n", 1},
		{"a figure in prose", "# 名\n\n很快：9 ms。\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n", 1},
		{"a link in a list", "# 名\n\n```sh\ngo test ./...\n```\n\n- [一](b)\n\n| [甲](a) | 2 s 3 % |\n", 1},
		{"links to headings and the other one", "# 名\n\n[很快](#快)。[English](README.md)\n\n```sh\ngo test ./...\n```\n\n- 一\n\n| [甲](a) | 2 s 3 % |\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := checkTranslation(&textFile{path: "README.md", src: []byte(original)}, &textFile{path: "README.zh-CN.md", src: []byte(tt.translation)})
			judge(t, found, "README.zh-CN.md", tt.line, "README.md")
		})
	}
}
