# For tests of programs to source: `work` is a folder of theirs, with data/ in it.
failures=0
failed() {
  echo "FAILED: $*"
  failures=1
}

# bytes NUMBER...: each as a byte.
bytes() {
  local text
  printf -v text '\\x%02x' "$@"
  printf '%b' "$text"
}
# dataset NAME COUNT SIDE FILE: pictures of SIDE x SIDE pixels, some bytes of a program, with labels 0 to 9 in turn.
dataset() {
  local i labels=()
  for ((i = 0; i < $2; ++i)); do labels+=($((i % 10))); done
  {
    bytes 0 0 8 3 0 0 0 "$2" 0 0 0 "$3" 0 0 0 "$3"
    head -c 20000 "$4" | tail -c $(($3 * $3 * $2))
  } >"$work/data/$1-images-idx3-ubyte"
  bytes 0 0 8 1 0 0 0 "$2" "${labels[@]}" >"$work/data/$1-labels-idx1-ubyte"
}
