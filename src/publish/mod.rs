//! Publish: compare, stage, check, commit, roll back.
