package backup

import "baton/eventstore/membership"

// Codes of refusals. Nothing was changed.
const (
	CodeBusy         = "backup-running"        // another one is being taken by this node or into this directory
	CodeDirectory    = "backup-directory"      // the directory is not usable: relative, inside the data, of something else
	CodeOtherCluster = "backup-other-cluster"  // the directory holds a backup of another cluster
	CodeOlder        = "backup-older"          // the node has applied less than the backup there holds
	CodeIncomplete   = "backup-incomplete"     // it was interrupted; there is no manifest
	CodeNoBackup     = "backup-missing"        // there is none
	CodeDamaged      = "backup-damaged"        // a byte of it is not what it was
	CodeNotEmpty     = "restore-not-empty"     // the data directory holds something
	CodeDifferent    = "backup-not-as-claimed" // files are whole, but do not hold what the manifest says
)

// damaged says that a file of a backup cannot be used.
func damaged(file, why string) *membership.Refusal {
	return &membership.Refusal{Code: CodeDamaged, Title: "The backup is damaged", Detail: file + ": " + why + ".",
		Fix: "Use another backup. Do not take a new one into this directory; choose an empty one."}
}
