/// @file
/// Pictures drawn by gnuplot, which is called as a program and may be absent.
#pragma once

#include <fcntl.h>     // O_WRONLY
#include <spawn.h>     // posix_spawnp
#include <sys/wait.h>  // waitpid
#include <unistd.h>    // environ

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include <resnext/error.hpp>

namespace resnext {

/// A text as a gnuplot string.
inline std::string gnuplot_string(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "'";
}

/// Runs a gnuplot script that draws one picture, PNG or SVG by the extension of `picture`, which appears only when it
/// is complete. The script finds terminal and output set.
/// @param width, height of the picture in pixels
/// @throws FileError when gnuplot is not installed or fails, with its message
inline void draw_with_gnuplot(const std::filesystem::path& picture, int width, int height, std::string_view script) {
  const bool svg = picture.extension() == ".svg";
  std::filesystem::path temporary = picture;
  temporary += svg ? ".tmp.svg" : ".tmp.png";
  const std::string size = std::to_string(width) + "," + std::to_string(height);
  const std::string all = std::string("set terminal ") + (svg ? "svg" : "pngcairo") + " size " + size +
                          " font 'Sans,10' noenhanced background 'white'\nset output " +
                          gnuplot_string(temporary.string()) + "\n" + std::string(script) + "\nset output\n";

  // Through files and not pipes: nobody waits for anybody, and an absent reader raises no signal.
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> input(std::tmpfile()), messages(std::tmpfile());
  if (!input || !messages || std::fwrite(all.data(), 1, all.size(), input.get()) != all.size() ||
      std::fflush(input.get()) != 0) {
    fail<FileError>(picture.string(),
                    ": could not write the script for gnuplot: ", std::generic_category().message(errno));
  }
  std::rewind(input.get());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), 0);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(messages.get()), 2);
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
    fail<FileError>(picture.string(), ": not drawn: gnuplot did not start (Debian package gnuplot-nox): ",
                    std::generic_category().message(error));
  }
  std::error_code renamed;
  if (status == 0) std::filesystem::rename(temporary, picture, renamed);
  if (status == 0 && !renamed) return;
  std::filesystem::remove(temporary, renamed);
  std::array<char, 400> text{};
  std::rewind(messages.get());
  static_cast<void>(std::fread(text.data(), 1, text.size() - 1, messages.get()));
  fail<FileError>(picture.string(), ": not drawn: gnuplot failed: ", text.data());
}

}  // namespace resnext
