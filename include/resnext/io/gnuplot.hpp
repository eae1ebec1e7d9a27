/// @file
/// Pictures drawn by gnuplot, which is called as a program and may be absent.
#pragma once

#include <fcntl.h>     // open
#include <spawn.h>     // posix_spawnp
#include <sys/wait.h>  // waitpid
#include <unistd.h>    // environ

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/io/utf8.hpp>

namespace resnext {

/// A text as a gnuplot string, in double quotes: in single ones gnuplot takes a quote at the start for the end.
/// StepControl characters become spaces, what is not UTF-8 (no SVG could hold it) question marks.
inline std::string gnuplot_string(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t valid = detail::first_invalid_utf8(text).value_or(text.size());
    for (const char c : text.substr(0, valid)) {
      if (c == '"')
        quoted += "\\042";
      else if (c == '\\')
        quoted += "\\134";
      else if (c == '`')  // begins a command, in double quotes too
        quoted += "\\140";
      else
        quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
    }
    if (valid < text.size()) quoted += '?';
    text.remove_prefix(std::min(valid + 1, text.size()));
  }
  return quoted + '"';
}

namespace detail {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;  // without a name

/// All of a temporary file.
inline std::string content_of(std::FILE* file) {
  std::string text;
  std::array<char, 4096> part{};
  std::rewind(file);
  for (std::size_t size; (size = std::fread(part.data(), 1, part.size(), file)) > 0;) text.append(part.data(), size);
  return text;
}

}  // namespace detail

/// Runs a gnuplot script that draws one picture, PNG or SVG by the extension of `picture`, which appears only when it
/// is complete. The script finds the terminal set, and the names of `inputs` in its variables `input0`, `input1`, ...
///
/// gnuplot never sees a name of a file: it takes some of them for commands. The picture comes out of its standard
/// output, the inputs are open files of its own.
/// @param width, height of the picture in pixels
/// @throws FileError when an input cannot be opened, gnuplot is not installed or fails (with its message), or the
/// picture cannot be written
inline void draw_with_gnuplot(const std::filesystem::path& picture, int width, int height, std::string_view script,
                              std::span<const std::filesystem::path> inputs = {}) {
  const std::string size = std::to_string(width) + "," + std::to_string(height);
  std::string all = std::string("set terminal ") + (picture.extension() == ".svg" ? "svg" : "pngcairo") + " size " +
                    size + " font 'Sans,10' noenhanced background 'white'\n";
  std::vector<detail::Descriptor> files;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const detail::Descriptor file(::open(inputs[i].c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) detail::fail_errno(inputs[i].string(), "open");
    files.emplace_back(::fcntl(file.get(), F_DUPFD_CLOEXEC, 3));  // not one that becomes a standard stream
    if (files.back().get() < 0) detail::fail_errno(inputs[i].string(), "open");
    all += "input" + std::to_string(i) + " = '/dev/fd/" + std::to_string(files.back().get()) + "'\n";
  }
  (all += script) += '\n';

  // Through files and not pipes: nobody waits for anybody, and an absent reader raises no signal.
  const detail::TemporaryFile input(std::tmpfile()), output(std::tmpfile()), messages(std::tmpfile());
  if (!input || !output || !messages || std::fwrite(all.data(), 1, all.size(), input.get()) != all.size() ||
      std::fflush(input.get()) != 0) {
    throw_error<FileError>(picture.string(),
                           ": could not write the script for gnuplot: ", std::generic_category().message(errno));
  }
  std::rewind(input.get());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), 0);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(output.get()), 1);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(messages.get()), 2);
  for (const auto& file : files) posix_spawn_file_actions_adddup2(&actions, file.get(), file.get());  // stays open
  std::array<char, 8> program{"gnuplot"};
  std::array<char*, 2> arguments{program.data(), nullptr};
  pid_t child = 0;
  int error = ::posix_spawnp(&child, program.data(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  while (error == 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  // POSIX lets a child that could not start say so by this status.
  if (error == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127) error = ENOENT;
  if (error != 0) {
    throw_error<FileError>(picture.string(), ": not drawn: gnuplot did not start (Debian package gnuplot-nox): ",
                           std::generic_category().message(error));
  }
  const std::string drawn = detail::content_of(output.get());
  if (status != 0 || drawn.empty()) {
    throw_error<FileError>(picture.string(), ": not drawn: gnuplot failed: ",
                           std::string_view(detail::content_of(messages.get())).substr(0, 400));
  }
  write_file(picture, {bytes_of(drawn)});
}

}  // namespace resnext
