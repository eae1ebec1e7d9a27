#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <resnext/data/resize.hpp>
#include <resnext/random.hpp>

#include "files.hpp"

using namespace resnext;

namespace {

Image pattern(int height, int width, int channels) {
  Image image{height, width, channels, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        image.pixels.push_back(static_cast<std::uint8_t>((x * 37 + y * 91 + c * 53 + x * y * 7) % 256));
      }
    }
  }
  return image;
}

std::uint64_t hash(const Image& image) {
  return detail::fnv1a({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()});
}

}  // namespace

TEST_CASE("resizing gives Pillow's bytes") {
  // Pillow 12, Image.resize((width, height), BILINEAR), FNV-1a of the result.
  struct Golden {
    int height, width, channels, to_height, to_width;
    std::uint64_t hash;
  };
  const Golden goldens[] = {
      {9, 13, 3, 4, 5, 0xCE718AA3DCEFA5E7},      {61, 97, 3, 48, 32, 0x48F91F28AFEC4973},
      {61, 97, 3, 130, 224, 0x845052AAE021E6B1}, {28, 28, 1, 32, 32, 0xB0F5539817613234},
      {300, 200, 3, 7, 200, 0x444BE2AECEECE186}, {5, 7, 1, 5, 3, 0xFF3958F8B99E9FF4},
      {64, 64, 3, 63, 64, 0xB2B10303C5378943},
  };
  for (const Golden& golden : goldens) {
    const Image image =
        resized(pattern(golden.height, golden.width, golden.channels), golden.to_height, golden.to_width);
    CAPTURE(golden.height);
    CHECK(image.height == golden.to_height);
    CHECK(image.width == golden.to_width);
    CHECK(hash(image) == golden.hash);
  }
}

TEST_CASE("the shorter side and the centre are torchvision's") {
  const Image wide = resized_shorter_side(pattern(61, 97, 3), 40), high = resized_shorter_side(pattern(97, 61, 3), 40);
  CHECK(wide.height == 40);
  CHECK(wide.width == 63);
  CHECK(high.height == 63);
  CHECK(high.width == 40);
  CHECK(hash(center_crop(wide, 33, 32)) == 0x7B377224A9CF0386);
  CHECK(hash(center_crop(high, 33, 35)) == 0xD966A3BA03204B53);
}

TEST_CASE("only what a crop needs is made, and it is what the whole way gives") {
  const int sizes[][2] = {{61, 97}, {97, 61}, {40, 40}, {3, 200}, {200, 3}, {1, 70}, {300, 40}, {33, 500}, {40, 41}};
  for (const auto& [height, width] : sizes) {
    for (const int channels : {1, 3}) {
      const Image image = pattern(height, width, channels);
      for (const auto& [size, crop] : {std::pair(40, 33), {32, 32}, {7, 4}, {100, 81}}) {
        const Image whole = center_crop(resized_shorter_side(image, size), crop, crop - 1);
        const Image part = resized_center_crop(image, size, crop, crop - 1);
        CAPTURE(image.height);
        CAPTURE(whole.height);
        CHECK(part.height == crop);
        CHECK(part.width == crop - 1);
        CHECK(part.pixels == whole.pixels);
      }
    }
  }
}

TEST_CASE("long thin pictures") {
  // The middle of 60,000 rows of which each became 256: a row and its neighbours.
  Image high{60000, 1, 3, std::vector<std::uint8_t>(180000, 9)};
  for (std::size_t i = 3 * 29998; i < 3 * 30002; ++i) high.pixels[i] = 200;
  CHECK(resized_center_crop(high, 256, 224, 224).pixels == std::vector<std::uint8_t>(3 * 224 * 224, 200));
  Image wide{1, 60000, 3, high.pixels};
  CHECK(resized_center_crop(wide, 256, 224, 224).pixels == std::vector<std::uint8_t>(3 * 224 * 224, 200));
  // 256 times these extents do not fit in 32 bits.
  const Image longer{9'000'000, 1, 1, std::vector<std::uint8_t>(9'000'000, 201)};
  CHECK(resized_center_crop(longer, 256, 224, 224).pixels == std::vector<std::uint8_t>(224 * 224, 201));
  CHECK(testing::message_of<ShapeError>([&] { resized_shorter_side(longer, 256); }) ==
        "resize: expected at most 134217728 pixels, found 9000000 x 1 to 2304000000 x 256");
  CHECK(testing::message_of<ShapeError>([&] { resized_shorter_side(high, 256); }) ==
        "resize: expected at most 134217728 pixels, found 60000 x 1 to 15360000 x 256");
}

TEST_CASE("grey is Pillow's luma") { CHECK(hash(to_grey(pattern(31, 17, 3))) == 0xE964C9D01E02D33B); }

TEST_CASE("resizing to the same size and cropping everything change nothing") {
  const Image image = pattern(11, 7, 3);
  CHECK(resized(image, 11, 7).pixels == image.pixels);
  CHECK(center_crop(image, 11, 7).pixels == image.pixels);
}

TEST_CASE("a constant picture stays constant") {
  const Image image{50, 40, 1, std::vector<std::uint8_t>(2000, 201)};
  for (const int size : {1, 3, 39, 41, 333}) {
    const Image other = resized(image, size, size);
    CHECK(other.pixels ==
          std::vector<std::uint8_t>(static_cast<std::size_t>(size) * static_cast<std::size_t>(size), 201));
  }
}

TEST_CASE("impossible sizes are refused") {
  CHECK(testing::message_of<ShapeError>([] { resized(pattern(4, 4, 1), 0, 3); }) ==
        "resize: expected extents of at least 1, found 4 x 4 to 0 x 3");
  CHECK(testing::message_of<ShapeError>([] { center_crop(pattern(4, 4, 1), 5, 3); }) ==
        "center crop: expected an image of at least 5 x 3, found 4 x 4");
  CHECK(testing::message_of<ShapeError>([] { resized_center_crop(pattern(4, 4, 1), 4, 5, 3); }) ==
        "center crop: expected an image of at least 5 x 3, found 4 x 4");
  CHECK(testing::message_of<ShapeError>([] { resized_center_crop(pattern(4, 4, 1), 0, 1, 1); }) ==
        "resize: expected extents of at least 1, found 4 x 4 to 0 x 0");
  const Image wrong{4, 4, 3, std::vector<std::uint8_t>(16)};
  for (const std::string name : {"resize", "center crop"}) {
    CHECK(testing::message_of<ShapeError>([&] {
            name == "resize" ? resized(wrong, 2, 2) : center_crop(wrong, 2, 2);
          }) == name + ": expected the pixels of an image [height, width, 1 or 3], found [4, 4, 3] with 16 values");
  }
}
