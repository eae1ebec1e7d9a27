/// @file
/// Pictures: JPEG (libjpeg-turbo) and PNG (libpng) in, PNG out.
#pragma once

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs FILE
#include <cstring>
#include <filesystem>
#include <resnext/error.hpp>
#include <resnext/io/file.hpp>
#include <resnext/tensor/image.hpp>
#include <resnext/tensor/number.hpp>
#include <span>
#include <string_view>
#include <vector>

#include <jpeglib.h>
// jpeglib.h comes first.
#include <jerror.h>
#include <png.h>

namespace resnext {

namespace detail {

// Both decoders report errors through longjmp, which must not jump over a destructor. Everything with a destructor is
// therefore a member of the decoder, made before setjmp and destroyed after it, and the function that calls setjmp has
// only trivial local variables.

class JpegDecoder {
 public:
  JpegDecoder() {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr info) {
      info->err->format_message(info, self(info).message_);
      std::longjmp(self(info).jump_, 1);
    };
    errors_.emit_message = [](j_common_ptr info, int level) {
      // After these warnings pixels are made up: the data are truncated or damaged. The others say that a writer was
      // careless in a place that costs nothing.
      constexpr std::array damage{JWRN_ARITH_BAD_CODE, JWRN_BOGUS_PROGRESSION, JWRN_HIT_MARKER,
                                  JWRN_HUFF_BAD_CODE,  JWRN_JPEG_EOF,          JWRN_MUST_RESYNC};
      const bool damaged = std::find(damage.begin(), damage.end(), info->err->msg_code) != damage.end();
      if (level < 0 && damaged) info->err->error_exit(info);
    };
    errors_.output_message = [](j_common_ptr) {};
    // A progressive file of a few kilobytes can hold thousands of scans of a large picture.
    progress_.progress_monitor = [](j_common_ptr info) {
      if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= 500) return;
      std::strcpy(self(info).message_, "more than 500 scans");
      std::longjmp(self(info).jump_, 1);
    };
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }

  /// False when the picture cannot be decoded; message() says why.
  bool decode(std::span<const std::byte> bytes, std::int64_t max_pixels, Image& image) {
    if (setjmp(jump_)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&info_, TRUE);
    if (std::int64_t{info_.image_width} * info_.image_height > max_pixels) {
      std::snprintf(message_, sizeof message_, "expected at most %lld pixels, found %u x %u",
                    static_cast<long long>(max_pixels), info_.image_width, info_.image_height);
      return false;
    }
    const bool cmyk = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info_);
    image.height = static_cast<int>(info_.output_height);
    image.width = static_cast<int>(info_.output_width);
    image.channels = 3;
    const std::size_t row = std::size_t{info_.output_width} * 3;
    image.pixels.resize(row * info_.output_height);
    if (cmyk) row_.resize(std::size_t{info_.output_width} * 4);
    while (info_.output_scanline < info_.output_height) {
      std::uint8_t* target = image.pixels.data() + row * info_.output_scanline;
      JSAMPROW line = cmyk ? row_.data() : target;
      jpeg_read_scanlines(&info_, &line, 1);
      if (cmyk) convert_cmyk(target);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  const char* message() const { return message_; }

 private:
  static JpegDecoder& self(j_common_ptr info) { return *static_cast<JpegDecoder*>(info->client_data); }

  void convert_cmyk(std::uint8_t* target) const {
    const unsigned flip = info_.saw_Adobe_marker ? 0 : 255;  // Adobe's programs store 255 - ink
    for (std::size_t i = 0; i < row_.size(); i += 4)
      for (std::size_t c = 0; c < 3; ++c)
        *target++ = static_cast<std::uint8_t>(((row_[i + c] ^ flip) * (row_[i + 3] ^ flip) + 127) / 255);
  }

  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf jump_{};
  char message_[JMSG_LENGTH_MAX] = "";
  std::vector<std::uint8_t> row_;
};

class PngDecoder {
 public:
  PngDecoder() {
    png_ = png_create_read_struct(
        PNG_LIBPNG_VER_STRING, this,
        [](png_structp png, png_const_charp message) {
          auto& self = *static_cast<PngDecoder*>(png_get_error_ptr(png));
          std::snprintf(self.message_, sizeof self.message_, "%s", message);
          png_longjmp(png, 1);
        },
        [](png_structp, png_const_charp) {});
    if (png_) info_ = png_create_info_struct(png_);
    if (!info_) std::strcpy(message_, "libpng could not be set up");
  }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  /// False when the picture cannot be decoded; message() says why.
  bool decode(std::span<const std::byte> bytes, std::int64_t max_pixels, Image& image) {
    rest_ = bytes;
    if (!info_ || setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, this, [](png_structp png, png_bytep target, std::size_t size) {
      auto& self = *static_cast<PngDecoder*>(png_get_io_ptr(png));
      if (size > self.rest_.size()) png_error(png, "the file ends too early");
      std::memcpy(target, self.rest_.data(), size);
      self.rest_ = self.rest_.subspan(size);
    });
    png_read_info(png_, info_);
    const png_uint_32 width = png_get_image_width(png_, info_), height = png_get_image_height(png_, info_);
    if (std::int64_t{width} * height > max_pixels) {
      std::snprintf(message_, sizeof message_, "expected at most %lld pixels, found %u x %u",
                    static_cast<long long>(max_pixels), width, height);
      return false;
    }
    png_set_expand(png_);  // palette and 1, 2, 4 bits to 8; a transparent colour to alpha
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    image.height = static_cast<int>(height);
    image.width = static_cast<int>(width);
    image.channels = 3;
    const std::size_t row = std::size_t{width} * 3;
    if (png_get_rowbytes(png_, info_) != row) png_error(png_, "libpng gives no 8-bit RGB");
    image.pixels.resize(row * height);
    rows_.resize(height);
    for (std::size_t y = 0; y < rows_.size(); ++y) rows_[y] = image.pixels.data() + y * row;
    png_read_image(png_, rows_.data());
    png_read_end(png_, nullptr);
    return true;
  }

  const char* message() const { return message_; }

 private:
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::span<const std::byte> rest_;
  std::vector<png_bytep> rows_;
  char message_[256] = "";
};

}  // namespace detail

/// Decodes a JPEG (grey, RGB, CMYK, YCCK, baseline or progressive) or PNG (every type; alpha is dropped, 16 bits are
/// rounded to 8) to RGB. Orientation tags and colour profiles are ignored. `name` is for messages. Throws FileError
/// when the picture is neither, damaged, truncated, or has more than `max_pixels` pixels.
inline Image decode_image(std::span<const std::byte> bytes, const std::filesystem::path& name,
                          std::int64_t max_pixels = max_image_pixels) {
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  Image image;
  const auto decode = [&](auto&& decoder, std::string_view kind) {
    if (!decoder.decode(bytes, max_pixels, image))
      throw_error<FileError>(name.string(), ": ", kind, ": ", decoder.message());
  };
  if (starts_with("\xFF\xD8\xFF"))
    decode(detail::JpegDecoder(), "JPEG");
  else if (starts_with("\x89PNG\r\n\x1A\n"))
    decode(detail::PngDecoder(), "PNG");
  else
    throw_error<FileError>(name.string(), ": byte 0: expected a JPEG or PNG picture");
  return image;
}

/// Reads and decodes a picture, see decode_image.
inline Image read_image(const std::filesystem::path& path, std::int64_t max_pixels = max_image_pixels) {
  return decode_image(MappedFile(path).bytes(), path, max_pixels);
}

/// Writes a picture of 1 (grey) or 3 (RGB) channels, completely or not at all. Throws ShapeError when the extents do
/// not fit the pixels, FileError when the file cannot be written.
inline void write_png(const std::filesystem::path& path, const Image& image) {
  detail::check_image(image, path.string());
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::vector<std::uint8_t> bytes(size);
  if (!png_image_write_to_memory(&header, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr))
    throw_error<FileError>(path.string(), ": PNG: ", header.message);
  write_file(path, {bytes_of(bytes).first(size)});
}

}  // namespace resnext
