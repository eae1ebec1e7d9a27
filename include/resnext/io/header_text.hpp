/// @file
/// What the parsers of text headers have in common: a place in the text, and errors that name it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <string>
#include <string_view>

namespace resnext::detail {

/// The text of a header, read from its beginning to its end.
class HeaderText {
 public:
  /// @param offset of the text in the file
  /// @param spaces what may stand between tokens
  HeaderText(std::string_view text, std::size_t offset, const std::string& path, std::string_view spaces)
      : text_(text), spaces_(spaces), offset_(offset), path_(path) {}

  /// Throws FileError "path: header, byte N: ...". N counts from the start of the file.
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw_error<FileError>(path_, ": header, byte ", offset_ + at_, ": ", parts...);
  }

  bool accept(char c) {
    skip_space();
    if (next() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse("expected '", c, "', found ", here());
  }
  void expect_end() {
    skip_space();
    if (at_ != text_.size()) refuse("expected the header's end, found ", here());
  }

 protected:
  void skip_space() { at_ = std::min(text_.find_first_not_of(spaces_, at_), text_.size()); }
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool digit() const { return next() >= '0' && next() <= '9'; }
  std::string here() const { return at_ < text_.size() ? detail::quoted(text_.substr(at_, 1)) : "the header's end"; }

  std::int64_t unsigned_integer() {
    constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max();
    skip_space();
    if (!digit()) refuse("expected an unsigned integer, found ", here());
    std::int64_t value = 0;
    for (; digit(); ++at_) {
      const int digit = next() - '0';
      if (value > (limit - digit) / 10) refuse("an integer exceeds 2^63 - 1");
      value = value * 10 + digit;
    }
    return value;
  }

  std::string_view text_, spaces_;
  std::size_t offset_;
  const std::string& path_;
  std::size_t at_ = 0;
};

}  // namespace resnext::detail
