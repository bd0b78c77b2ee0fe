package kernellab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// enterEnv holds the path of the program to become.
	enterEnv = "BRADAWL_KERNELLAB_EXEC"
	// enterFD is where a child finds its namespace: the first of ExtraFiles.
	enterFD = 3
)

// Command returns a command that will run inside the namespace. It is an
// ordinary exec.Cmd, except that Path, Args[0], Env (append to it),
// SysProcAttr and the first of ExtraFiles are taken. It is killed when the
// test ends, also when the test process itself is killed. name is looked up in
// PATH now.
func (n *Namespace) Command(name string, args ...string) *exec.Cmd {
	n.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
	cmd := exec.CommandContext(n.t.Context(), "/proc/self/exe", args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), enterEnv+"="+path)
	cmd.ExtraFiles = []*os.File{n.file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// init runs on the main thread, which becomes the program. It is the child's
// half of Command.
func init() {
	path, ok := os.LookupEnv(enterEnv)
	if !ok {
		return
	}
	err := enter(path)
	fmt.Fprintf(os.Stderr, "kernellab: run %s in a network namespace: %v\n", path, err)
	os.Exit(127)
}

func enter(path string) error {
	if err := unix.Setns(enterFD, unix.CLONE_NEWNET); err != nil {
		return err
	}
	unix.CloseOnExec(enterFD)
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, enterEnv+"=") {
			env = append(env, e)
		}
	}
	return unix.Exec(path, os.Args, env)
}
