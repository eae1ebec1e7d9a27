// Writing a checkpoint when the program is killed, the disk is full, or the system fails: at each of its calls. The
// functions below take the place of the system's own in this program.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <map>
#include <string>
#include <vector>

#include <resnext/train/checkpoint.hpp>
#include <resnext/train/fit.hpp>

#include "files.hpp"
#include "train/run.hpp"

namespace {

enum class Fault {
  none,
  killed,   ///< before the call
  torn,     ///< in the middle of a write, before any other call
  full,     ///< no room any more: half of a write is done, then none
  failed,   ///< that call reports an error of the device
  halting,  ///< writes are interrupted and come in pieces
};

Fault fault = Fault::none;
int at = 0;                   // the call that it happens at, from 1
int calls = 0;                // that change files, so far
std::array<char, 300> order;  // their first letters; plain memory, for there are calls before this program's own

void arm(Fault kind, int call = 1) {
  fault = kind;
  at = call;
  calls = 0;
}
void disarm() { arm(Fault::none); }

/// Counts a call. True when it fails with errno.
bool fails(char letter, bool takes_room) {
  order[static_cast<std::size_t>(calls++) % order.size()] = letter;
  if (fault == Fault::none || calls < at) return false;
  if (fault == Fault::full && takes_room) {
    errno = ENOSPC;
    return true;
  }
  if (calls > at) return false;
  if (fault == Fault::killed || fault == Fault::torn) ::kill(::getpid(), SIGKILL);
  errno = EIO;
  return fault == Fault::failed;
}

ssize_t real_write(int file, const void* bytes, std::size_t size) { return ::syscall(SYS_write, file, bytes, size); }

}  // namespace

extern "C" {
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int mode = flags & O_CREAT ? va_arg(more, int) : 0;
  va_end(more);
  if (flags & O_CREAT && fails('o', true)) return -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
ssize_t write(int file, const void* bytes, std::size_t size) {
  if (file > 2) {
    const bool now = calls + 1 == at;
    if (now && fault == Fault::torn) real_write(file, bytes, size / 2);
    if (now && fault == Fault::full && size > 1) {
      ++calls;
      return real_write(file, bytes, size / 2);
    }
    if (fails('w', true)) return -1;
    if (fault == Fault::halting && calls % 3 == 0) {
      errno = EINTR;
      return -1;
    }
    if (fault == Fault::halting) size = (size + 1) / 2;
  }
  return real_write(file, bytes, size);
}
int fsync(int file) { return fails('f', true) ? -1 : static_cast<int>(::syscall(SYS_fsync, file)); }
int close(int file) {
  const bool failed = fails('c', false);
  const auto closed = static_cast<int>(::syscall(SYS_close, file));
  return failed ? -1 : closed;
}
int rename(const char* from, const char* to) noexcept {
  return fails('r', false) ? -1 : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int unlink(const char* path) noexcept {
  return fails('u', false) ? -1 : static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
int remove(const char* path) noexcept { return ::unlink(path); }
}

using namespace resnext;
using test::Run;
using test::Tiny;
using testing::message_of;
using testing::read_text;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// A run of seven steps, and a folder in which its fourth checkpoint is about to be written.
struct Scene {
  static constexpr int last = 7;

  TemporaryFolder whole, folder;
  std::map<std::int64_t, std::string> expected;  // the checkpoints of the run that nothing happened to
  Checkpoint<Tiny> fourth;
  int all_calls = 0;
  std::string calls_in_order;

  Scene() {
    Run run;
    REQUIRE(run.fit(options(whole.path(), 100)));
    for (int step = 1; step <= last; ++step) expected[step] = read_text(checkpoint_path(whole.path(), step));
    fourth = load_checkpoint<Tiny>(checkpoint_path(whole.path(), 4));
    prepare();
    disarm();
    write();
    all_calls = calls;
    calls_in_order.assign(order.data(), static_cast<std::size_t>(calls));
    REQUIRE(all_calls > 80);
    REQUIRE(found() == 4);
  }

  static FitOptions options(const fs::path& path, int keep) {
    FitOptions options = Run::options(path);
    options.epochs = 1;
    options.checkpoint_every = 1;
    options.keep = keep;
    return options;
  }
  void prepare() {
    for (const auto& entry : fs::directory_iterator(folder.path())) fs::remove(entry.path());
    for (const int step : {2, 3}) testing::write_text(checkpoint_path(folder.path(), step), expected[step]);
  }
  /// What fit() does after the fourth step.
  void write() {
    save_checkpoint(checkpoint_path(folder.path(), 4), fourth.trainer, fourth.state);
    prune_checkpoints(folder.path(), 2, fourth.state);
  }
  /// The step of the newest checkpoint, which must be intact and have the right bytes; 0 otherwise.
  std::int64_t found() {
    std::string damaged;
    const auto path = latest_checkpoint(folder.path(), [&](const std::string& what) { damaged = what; });
    CAPTURE(damaged);
    REQUIRE(path);
    const std::int64_t step = *detail::step_of(*path);
    return damaged.empty() && read_text(*path) == expected[step] ? step : 0;
  }
  /// Goes on to the end in the same folder.
  void check_resumed() {
    Run run;
    run.resume(*latest_checkpoint(folder.path()));
    REQUIRE(run.fit(options(folder.path(), 2)));
    CHECK(read_text(checkpoint_path(folder.path(), last)) == expected[last]);
    CHECK(folder.files() == 2);  // nothing that was begun is left
  }
};

}  // namespace

TEST_CASE("killed at any call while it writes a checkpoint, a run goes on from it or from the one before") {
  Scene scene;
  for (const Fault kind : {Fault::killed, Fault::torn}) {
    int kept = 0, lost = 0;
    for (int call = 1; call <= scene.all_calls; ++call) {
      CAPTURE(call);
      scene.prepare();
      const pid_t child = ::fork();
      if (child == 0) {
        arm(kind, call);
        scene.write();
        ::_exit(0);
      }
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      REQUIRE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
      const std::int64_t step = scene.found();
      REQUIRE((step == 4 || (step == 3 && kept == 0)));  // once it is there it stays
      ++(step == 4 ? kept : lost);
      if (call % 12 == 0 || step == 4) scene.check_resumed();
    }
    CHECK(lost > 80);
    CHECK(kept > 2);
  }
}

TEST_CASE("a full or failing disk is an error that names file and reason; the checkpoints before it stay") {
  Scene scene;
  for (const Fault kind : {Fault::full, Fault::failed}) {
    int refused = 0;
    for (int call = 1; call <= scene.all_calls; ++call) {
      CAPTURE(call);
      scene.prepare();
      arm(kind, call);
      const std::string message = message_of<FileError>([&] { scene.write(); });
      disarm();
      const std::int64_t step = scene.found();
      if (step == 3) {
        ++refused;
        CAPTURE(message);
        REQUIRE(message.starts_with(checkpoint_path(scene.folder.path(), 4).string() + ": could not "));
        REQUIRE(message.ends_with(kind == Fault::full ? "No space left on device" : "Input/output error"));
        REQUIRE(scene.folder.files() == 2);  // no half of a file takes the room that is missing
      }
      REQUIRE(step >= 3);
    }
    CHECK(refused > 80);
    scene.check_resumed();
  }
}

TEST_CASE("also when the power fails: first the bytes are on the disk, then the name, then the old ones go") {
  const Scene scene;
  const std::string writes(scene.calls_in_order.find('f') - 1, 'w');
  CHECK(scene.calls_in_order ==
        "o" + writes + "fc" + "r" + "fc" + "ccc" + "u");  // ccc: three were asked whose they are
}

TEST_CASE("interrupted and partial writes are no errors") {
  Scene scene;
  scene.prepare();
  arm(Fault::halting);
  scene.write();
  disarm();
  CHECK(scene.found() == 4);
}
