package hygiene

import (
	"path/filepath"
	"sync"
	"testing"
)

var root = filepath.Join("..", "..")

// repository is read once, for all tests that look at it.
var repository = sync.OnceValues(func() (*tree, error) { return load(root) })

// TestRepository holds every file of the repository to every rule.
func TestRepository(t *testing.T) {
	repo, err := repository()
	if err != nil {
		t.Fatalf("reading the repository: %v", err)
	}
	document := func(name string) *textFile {
		f := repo.file(name)
		if f == nil {
			t.Fatalf("%s is missing", name)
		}
		return f
	}
	architecture := document("ARCHITECTURE.md")
	ci := document(".ci/run")

	var found []finding
	for _, f := range repo.code {
		found = append(found, checkStreet(f)...)
		found = append(found, checkGuards(f)...)
		found = append(found, checkCore(f)...)
		found = append(found, checkDocumented(f)...)
		found = append(found, checkUsage(f)...)
		found = append(found, checkFormatted(f)...)
		found = append(found, checkUnfinished(f)...)
		found = append(found, checkSleep(f)...)
		found = append(found, checkLength(f, architecture.src)...)
	}
	for _, f := range repo.text {
		found = append(found, checkMachine(f)...)
	}
	found = append(found, checkRootGraph(repo.code)...)
	found = append(found, checkPackageDocs(repo.code)...)
	found = append(found, checkExamples(repo.code)...)
	found = append(found, checkModules(repo)...)
	found = append(found, checkLinks(repo)...)
	found = append(found, checkPictures(repo)...)
	found = append(found, checkToType(repo)...)
	found = append(found, checkReasons(document("go.mod"), architecture)...)
	found = append(found, checkUnfixed(document("go.mod"))...)
	found = append(found, checkCommands(document("README.md"), ci)...)
	found = append(found, checkCommands(document("CONTRIBUTING.md"), ci)...)
	found = append(found, checkTranslation(document("README.md"), document("README.zh-CN.md"))...)

	for _, f := range found {
		t.Error(f)
	}
	// A loader that passes over everything would find nothing wrong.
	if len(repo.code) < 20 || len(repo.text) <= len(repo.code) {
		t.Errorf("read %d Go files and %d in all, want the repository", len(repo.code), len(repo.text))
	}
}
