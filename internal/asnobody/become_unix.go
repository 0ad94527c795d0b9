//go:build unix

package asnobody

import (
	"os/exec"
	"syscall"
)

func become(cmd *exec.Cmd, id uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
}
