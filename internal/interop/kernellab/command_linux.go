package kernellab

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enterEnv holds the descriptor at which a child finds its namespace, and the path
// of the program to become.
const enterEnv = "BRADAWL_KERNELLAB_EXEC"

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
	cmd := exec.CommandContext(n.t.Context(), path, args...)
	cmd.Args[0] = name
	n.Enter(cmd)
	return cmd
}

// Enter makes a command that has not been started run inside the namespace. It
// changes Path, Env, SysProcAttr, and appends to ExtraFiles; what is there
// already keeps its place.
func (n *Namespace) Enter(cmd *exec.Cmd) {
	cmd.ExtraFiles = append(cmd.ExtraFiles, n.file)
	fd := 2 + len(cmd.ExtraFiles)
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d:%s", enterEnv, fd, cmd.Path))
	cmd.Path = "/proc/self/exe"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// init runs on the main thread, which becomes the program. It is the child's
// half of Enter.
func init() {
	what, ok := os.LookupEnv(enterEnv)
	if !ok {
		return
	}
	err := enter(what)
	fmt.Fprintf(os.Stderr, "kernellab: run %s in a network namespace: %v\n", what, err)
	os.Exit(127)
}

func enter(what string) error {
	number, path, _ := strings.Cut(what, ":")
	fd, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, enterEnv+"=") {
			env = append(env, e)
		}
	}
	return unix.Exec(path, os.Args, env)
}
