#!/usr/bin/env bash
# names.sh MACROS: no macro of ours is left in a unit that includes all headers. MACROS is what -dM printed there; the mark
# that for_each_target-inl.h has been included stays.
! grep -E '^#define RESNEXT_' "$1" | grep -vE '^#define RESNEXT_FOR_EACH_TARGET\b'
