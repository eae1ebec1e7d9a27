// Runs the example programs as a user does.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace testing {

inline const std::string programs = RESNEXT_EXAMPLES_DIR "/";

struct Result {
  int status;
  std::string output;  ///< standard output and errors
};

inline Result run(const std::string& command) {
  std::FILE* pipe = ::popen((programs + command + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Result result{};
  char part[4096];
  for (std::size_t size; (size = std::fread(part, 1, sizeof part, pipe)) > 0;) result.output.append(part, size);
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

inline bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace testing
