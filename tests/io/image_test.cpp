#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <resnext/io/image.hpp>
#include <resnext/random.hpp>
#include <string>
#include <vector>

#include "files.hpp"

using namespace resnext;
using namespace testing;

namespace {

/// A JPEG of a `channels`-component picture in the given colour space of the file.
std::string encode_jpeg(int width, int height, int channels, J_COLOR_SPACE in, J_COLOR_SPACE stored,
                        const std::vector<std::uint8_t>& pixels, bool progressive = false,
                        const std::vector<jpeg_scan_info>& scans = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = channels;
  info.in_color_space = in;
  jpeg_set_defaults(&info);
  jpeg_set_colorspace(&info, stored);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  if (!scans.empty()) {
    info.scan_info = scans.data();
    info.num_scans = static_cast<int>(scans.size());
  }
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<std::uint8_t*>(pixels.data()) + static_cast<int>(info.next_scanline) * width * channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string file(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&info);
  std::free(bytes);
  return file;
}

struct Png {
  int width = 0, height = 0, depth = 8, type = PNG_COLOR_TYPE_RGB, interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette{};
  std::vector<std::uint8_t> rows{};  // as the file stores them
};

std::string encode_png(const Png& png) {
  std::string file;
  png_structp writer = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(writer);
  const auto append = [](png_structp w, png_bytep data, std::size_t size) {
    static_cast<std::string*>(png_get_io_ptr(w))->append(reinterpret_cast<const char*>(data), size);
  };
  png_set_write_fn(writer, &file, append, nullptr);
  png_set_IHDR(writer, info, static_cast<png_uint_32>(png.width), static_cast<png_uint_32>(png.height), png.depth,
               png.type, png.interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!png.palette.empty()) png_set_PLTE(writer, info, png.palette.data(), static_cast<int>(png.palette.size()));
  png_write_info(writer, info);
  std::vector<png_bytep> rows;
  const std::size_t row = png_get_rowbytes(writer, info);
  for (std::size_t y = 0; y < static_cast<std::size_t>(png.height); ++y)
    rows.push_back(const_cast<std::uint8_t*>(png.rows.data()) + y * row);
  png_write_image(writer, rows.data());
  png_write_end(writer, nullptr);
  png_destroy_write_struct(&writer, &info);
  return file;
}

Image decode(const std::string& file, std::int64_t max_pixels = max_image_pixels) {
  return decode_image(std::as_bytes(std::span(file)), "picture", max_pixels);
}

std::string refusal(const std::string& file) {
  return message_of<FileError>([&] { decode(file); });
}

/// Smooth, so that JPEG keeps it within a few units.
std::vector<std::uint8_t> gradient(int width, int height, int channels) {
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) pixels.push_back(static_cast<std::uint8_t>(40 + 3 * x + 4 * y + 20 * c));
  return pixels;
}

int distance(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  REQUIRE(a.size() == b.size());
  int most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

void corrupt(const std::string& good) {
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    CHECK_FALSE(refusal(good.substr(0, length)).empty());
  }
  const RandomStream random(7, "bytes");
  for (std::size_t at = 0; at < good.size(); ++at)
    for (const char byte : {'\0', '\xFF', static_cast<char>(random.below(at, 256))}) {
      std::string bad = good;
      bad[at] = byte;
      try {
        const Image image = decode(bad, 1 << 20);
        CHECK(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * 3));
      } catch (const FileError&) {
      }
    }
}

}  // namespace

TEST_CASE("JPEG: baseline and progressive RGB, grey, CMYK and YCCK become RGB") {
  const int width = 19, height = 13;
  const auto rgb = gradient(width, height, 3), grey = gradient(width, height, 1);
  for (const bool progressive : {false, true}) {
    const Image image = decode(encode_jpeg(width, height, 3, JCS_RGB, JCS_YCbCr, rgb, progressive));
    CHECK(image.width == width);
    CHECK(image.height == height);
    CHECK(image.channels == 3);
    CHECK(distance(image.pixels, rgb) <= 6);
    std::vector<std::uint8_t> tripled;
    for (const std::uint8_t value : grey) tripled.insert(tripled.end(), 3, value);
    CHECK(distance(decode(encode_jpeg(width, height, 1, JCS_GRAYSCALE, JCS_GRAYSCALE, grey, progressive)).pixels,
                   tripled) <= 3);
  }
  // libjpeg writes an Adobe marker with four components, which means 255 - ink: half black over the colours halves
  // them.
  std::vector<std::uint8_t> cmyk, expected;
  for (std::size_t i = 0; i < rgb.size(); i += 3) {
    for (std::size_t c = 0; c < 3; ++c) {
      cmyk.push_back(rgb[i + c]);
      expected.push_back(static_cast<std::uint8_t>(rgb[i + c] * 128 / 255));
    }
    cmyk.push_back(128);
  }
  CHECK(distance(decode(encode_jpeg(width, height, 4, JCS_CMYK, JCS_CMYK, cmyk)).pixels, expected) <= 3);
  CHECK(distance(decode(encode_jpeg(width, height, 4, JCS_CMYK, JCS_YCCK, cmyk)).pixels, expected) <= 6);
}

TEST_CASE("PNG: every type becomes 8-bit RGB, exactly") {
  const auto rgb = gradient(5, 3, 3);
  for (const int interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7})
    CHECK(decode(encode_png({5, 3, 8, PNG_COLOR_TYPE_RGB, interlace, {}, rgb})).pixels == rgb);

  std::vector<std::uint8_t> wide, with_alpha;
  for (std::size_t i = 0; i < rgb.size(); ++i) {
    wide.insert(wide.end(), 2, rgb[i]);  // v * 257 stands for v
    with_alpha.push_back(rgb[i]);
    if (i % 3 == 2) with_alpha.push_back(static_cast<std::uint8_t>(i));
  }
  CHECK(decode(encode_png({5, 3, 16, PNG_COLOR_TYPE_RGB, 0, {}, wide})).pixels == rgb);
  CHECK(decode(encode_png({5, 3, 8, PNG_COLOR_TYPE_RGB_ALPHA, 0, {}, with_alpha})).pixels == rgb);

  using Pixels = std::vector<std::uint8_t>;
  CHECK(decode(encode_png({2, 1, 8, PNG_COLOR_TYPE_GRAY, 0, {}, {7, 200}})).pixels == Pixels{7, 7, 7, 200, 200, 200});
  CHECK(decode(encode_png({2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, {}, {7, 0, 200, 9}})).pixels ==
        Pixels{7, 7, 7, 200, 200, 200});
  CHECK(decode(encode_png({2, 1, 1, PNG_COLOR_TYPE_GRAY, 0, {}, {0x40}})).pixels == Pixels{0, 0, 0, 255, 255, 255});
  CHECK(decode(encode_png({2, 1, 4, PNG_COLOR_TYPE_PALETTE, 0, {{1, 2, 3}, {4, 5, 6}}, {0x10}})).pixels ==
        Pixels{4, 5, 6, 1, 2, 3});
}

TEST_CASE("a written PNG reads back") {
  const TemporaryFolder folder;
  const Image image{3, 5, 3, gradient(5, 3, 3)};
  write_png(folder / "rgb.png", image);
  const Image read = read_image(folder / "rgb.png");
  CHECK(read.height == 3);
  CHECK(read.width == 5);
  CHECK(read.pixels == image.pixels);
  write_png(folder / "grey.png", {1, 2, 1, {7, 200}});
  CHECK(read_image(folder / "grey.png").pixels == std::vector<std::uint8_t>{7, 7, 7, 200, 200, 200});
  CHECK_THROWS_AS(write_png(folder / "x", {3, 5, 3, gradient(5, 2, 3)}), ShapeError);
  CHECK_THROWS_AS(write_png(folder / "x", {1, 1, 4, {1, 2, 3, 4}}), ShapeError);
  CHECK_THROWS_AS(write_png(folder / "x", {-1, -1, 1, {1}}), ShapeError);
  CHECK(folder.files() == 2);
}

TEST_CASE("what is no picture, too large or damaged is refused; nothing crashes") {
  CHECK(refusal("GIF89a") == "picture: byte 0: expected a JPEG or PNG picture");
  CHECK_THROWS_AS(read_image("no-such-folder/a.png"), FileError);
  const auto pixels = gradient(19, 13, 3);
  const std::string jpeg = encode_jpeg(19, 13, 3, JCS_RGB, JCS_YCbCr, pixels);
  const std::string png = encode_png({19, 13, 8, PNG_COLOR_TYPE_RGB, 0, {}, pixels});
  for (const std::string& file : {jpeg, png}) {
    CHECK(decode(file, 19 * 13).width == 19);
    CHECK(message_of<FileError>([&] {
            decode(file, 19 * 13 - 1);
          }).find("expected at most 246 pixels, found 19 x 13") != std::string::npos);
  }
  corrupt(jpeg);
  corrupt(encode_jpeg(19, 13, 3, JCS_RGB, JCS_YCbCr, pixels, true));
  corrupt(png);
  corrupt(encode_png({19, 13, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, {}, pixels}));
}

TEST_CASE("JPEG: what a writer did carelessly costs nothing, damage does") {
  const auto pixels = gradient(40, 30, 1);
  const std::string good = encode_jpeg(40, 30, 1, JCS_GRAYSCALE, JCS_GRAYSCALE, pixels);
  const Image expected = decode(good);
  const std::size_t scan = good.find("\xFF\xDA"), quantisation = good.find("\xFF\xDB");
  // The last three bytes of a scan's header mean something to progressive files only.
  for (const std::string& spectrum :
       {std::string("\0\0\0", 3), std::string("\0\x3F\x11", 3), std::string("\1\5\0", 3)}) {
    CHECK(decode(std::string(good).replace(scan + 7, 3, spectrum)).pixels == expected.pixels);
  }
  const auto inserted = [&](std::string_view bytes) { return std::string(good).insert(quantisation, bytes); };
  CHECK(decode(inserted("abc")).pixels == expected.pixels);  // bytes between segments
  // A colour profile in two pieces of which only one is there, and an unknown colour transform.
  CHECK(decode(inserted(std::string_view("\xFF\xE2\0\x13ICC_PROFILE\0\1\2abc", 21))).pixels == expected.pixels);
  CHECK(decode(inserted(std::string_view("\xFF\xEE\0\x0E"
                                         "Adobe\0\x64\0\0\0\0\7",
                                         16)))
            .pixels == expected.pixels);
  std::string version = good;
  version[11] = 2;  // JFIF 2.01
  CHECK(decode(version).pixels == expected.pixels);
  CHECK(decode(good + std::string(100, '\0')).pixels == expected.pixels);

  const std::string truncated = good.substr(0, good.size() - 20);
  CHECK(refusal(truncated) == "picture: JPEG: Premature end of JPEG file");
  CHECK(refusal(truncated + "\xFF\xD9") == "picture: JPEG: Corrupt JPEG data: premature end of data segment");
  CHECK(refusal(good.substr(0, good.size() - 2)) == "picture: JPEG: Premature end of JPEG file");
  CHECK_FALSE(refusal(truncated + "\xFF\xD3" + good.substr(good.size() - 20)).empty());
}

TEST_CASE("a JPEG of thousands of scans is refused instead of decoded for minutes") {
  // A scan of all coefficients in full precision may be repeated: the file stays well-formed.
  const std::vector<jpeg_scan_info> scans{{1, {0}, 0, 0, 0, 0}, {1, {0}, 1, 63, 0, 0}};
  const std::vector<std::uint8_t> pixels(64 * 64, 90);
  const std::string file = encode_jpeg(64, 64, 1, JCS_GRAYSCALE, JCS_GRAYSCALE, pixels, false, scans);
  const std::size_t scan = file.rfind("\xFF\xDA"), end = file.rfind("\xFF\xD9");
  const auto repeat = [&](int times) {
    std::string many = file.substr(0, end);
    for (int i = 0; i < times; ++i) many += file.substr(scan, end - scan);
    return many + "\xFF\xD9";
  };
  CHECK(decode(repeat(100)).pixels == std::vector<std::uint8_t>(64 * 64 * 3, 90));
  CHECK(refusal(repeat(600)) == "picture: JPEG: more than 500 scans");
}
