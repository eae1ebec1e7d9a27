#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <resnext/eval/contact_sheet.hpp>
#include <resnext/io/image.hpp>

#include "files.hpp"

using namespace resnext;
using testing::TemporaryFolder;

namespace {

std::vector<std::uint8_t> pixel(const Image& image, int x, int y) {
  const auto at = static_cast<std::size_t>(y * image.width + x) * 3;
  return {image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]};
}

std::vector<SheetCell> cells() {
  const Image grey{28, 28, 1, std::vector<std::uint8_t>(784, 200)};
  const Image large{300, 600, 3, std::vector<std::uint8_t>(540000, 100)};
  return {
      {grey, "Bag 98 %", "", true}, {grey, "Shirt 40 %", "is T-shirt/top", false}, {large, "it's 'quoted'", "", {}}};
}

}  // namespace

TEST_CASE("a sheet has every picture in a frame that says whether it is right, with or without gnuplot") {
  const TemporaryFolder folder;
  const auto path = folder / "sheet.png";
  const auto check = [&] {
    const Image sheet = read_image(path);
    REQUIRE(sheet.width == 2 * 132);
    REQUIRE(sheet.height == 2 * 144);
    CHECK(pixel(sheet, 66, 56) == std::vector<std::uint8_t>{200, 200, 200});
    CHECK(pixel(sheet, 16, 56) == std::vector<std::uint8_t>{40, 150, 80});        // the frame of the first
    CHECK(pixel(sheet, 132 + 16, 56) == std::vector<std::uint8_t>{210, 40, 40});  // of the second
    CHECK(pixel(sheet, 66, 144 + 56) == std::vector<std::uint8_t>{100, 100, 100});
    CHECK(pixel(sheet, 66, 144 + 20) == std::vector<std::uint8_t>{0, 0, 0});    // beside a picture that is wide
    CHECK(pixel(sheet, 200, 200) == std::vector<std::uint8_t>{255, 255, 255});  // no fourth cell
    CHECK(folder.files() == 1);
  };
  const std::string programs = std::getenv("PATH");
  ::setenv("PATH", "/nonexistent", 1);
  CHECK(!draw_contact_sheet(path, cells(), 2));
  ::setenv("PATH", programs.c_str(), 1);
  check();
  if (std::system("gnuplot --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: gnuplot is not installed");
    return;
  }
  const Image bare = read_image(path);
  CHECK(draw_contact_sheet(path, cells(), 2));
  check();
  CHECK(read_image(path).pixels != bare.pixels);  // there is text on it now
}

TEST_CASE("names and texts are never commands") {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const std::string names[] = {"|touch pwned; cat >out #.png",
                               "<touch pwned.png",
                               "`touch pwned`.png",
                               "it's.png",
                               "a\nb.png",
                               "-",
                               "~.png",
                               "caf\xe9.png"};
  std::ptrdiff_t files = 0;
  for (const std::string& name : names) {
    CAPTURE(name);
    std::vector<SheetCell> some = cells();
    some[0].title = some[1].subtitle = name;
    draw_contact_sheet(name, some, 2);
    CHECK(read_image(name).width == 2 * 132);
    CHECK(folder.files() == ++files);
  }
  std::filesystem::current_path(before);
}

TEST_CASE("a sheet through a link or into a pipe, under a name that is no name of ours") {
  const TemporaryFolder folder;
  const auto target = testing::write_text(folder / "target.png", "old");
  std::filesystem::create_symlink("target.png", folder / "link.png");
  draw_contact_sheet(folder / "link.png", cells(), 2);
  CHECK(std::filesystem::is_symlink(folder / "link.png"));
  CHECK(read_image(target).width == 2 * 132);
  CHECK(folder.files() == 2);

  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::string piped;
  std::thread reader([&] { piped = testing::read_text(pipe); });
  draw_contact_sheet(pipe, cells(), 2);
  reader.join();
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(piped == testing::read_text(target));

  for (const std::string& name : {std::string(251, 'n') + ".png", std::string("|'`$(x)#.png"), std::string("none")}) {
    draw_contact_sheet(folder / name, cells(), 2);
    CHECK(testing::read_text(folder / name) == piped);
  }
}

TEST_CASE("sheets that are none are refused") {
  const auto refusal = [](const std::vector<SheetCell>& some, int columns) {
    return testing::message_of<ShapeError>([&] { draw_contact_sheet("sheet.png", some, columns); });
  };
  CHECK(refusal({}, 8) == "sheet.png: expected at least one cell and one column");
  CHECK(refusal(cells(), 0) == "sheet.png: expected at least one cell and one column");
  CHECK(refusal(cells(), 2147483647) ==
        "sheet.png: expected a sheet of at most 134217728 pixels, found 1 rows of 2147483647 cells");
  std::vector<SheetCell> wrong = cells();
  wrong[1].image.height = 29;
  CHECK(refusal(wrong, 2) ==
        "sheet.png: expected the pixels of an image [height, width, 1 or 3], found [29, 28, 1] with 784 values");
}

TEST_CASE("a cell may be any picture, however thin") {
  const TemporaryFolder folder;
  const SheetCell thin{{1, 30'000'000, 1, std::vector<std::uint8_t>(30'000'000, 77)}, "", "", {}};
  draw_contact_sheet(folder / "sheet.png", std::span(&thin, 1), 1);
  CHECK(pixel(read_image(folder / "sheet.png"), 66, 55) == std::vector<std::uint8_t>{77, 77, 77});
}
