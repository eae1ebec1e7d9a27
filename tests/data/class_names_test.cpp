#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <resnext/data/class_names.hpp>

#include "files.hpp"

using namespace resnext;

namespace {

using Names = std::vector<std::string>;

Names read(const std::string& text, int classes) {
  return read_class_names(MappedFile("names", bytes_of(text)), classes);
}
std::string refusal(const std::string& text, int classes) {
  return testing::message_of<FileError>([&] { read(text, classes); });
}

}  // namespace

TEST_CASE("a name is what a line says, whatever editor wrote it") {
  const Names expected{"Dress", "T-shirt/top", "caf\xC3\xA9 au lait"};
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    const std::string text = "Dress" + end + "T-shirt/top" + end + "caf\xC3\xA9 au lait";
    for (const std::string& tail : {std::string(), end, end + end + end, " \t" + end}) {
      CHECK(read(text + tail, 3) == expected);
      CHECK(read("\xEF\xBB\xBF" + text + tail, 3) == expected);
    }
    CHECK(read("  Dress\t" + end + end + "T-shirt/top " + end + "caf\xC3\xA9 au lait", 3) == expected);
  }
  const testing::TemporaryFolder folder;
  CHECK(read_class_names(testing::write_text(folder / "names", "a|b\r\nc\r\n"), 2) == Names{"a|b", "c"});
}

TEST_CASE("another number of names, or another encoding, is refused") {
  CHECK(refusal("a\nb\nc\n", 2) == "names: expected 2 class names, found 3");
  CHECK(refusal("a\n\nb\n", 3) == "names: expected 3 class names, found 2");
  CHECK(refusal("", 1) == "names: expected 1 class names, found 0");
  CHECK(refusal("\xEF\xBB\xBF", 1) == "names: expected 1 class names, found 0");
  CHECK(refusal("a\ncaf\xE9\n", 2) == "names: byte 5: not UTF-8 (convert the class names, for instance with iconv)");
  CHECK(refusal(std::string("\xFF\xFE"
                            "a\0\n\0",
                            6),
                1) == "names: byte 0: not UTF-8 (convert the class names, for instance with iconv)");
  CHECK(refusal(std::string(70000, 'a'), 1) == "names: expected at most 65536 bytes of class names, found 70000");
}
