/// @file
/// Many small pictures on one sheet, each with what the network says about it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>  // mkdtemp
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <resnext/data/resize.hpp>
#include <resnext/error.hpp>
#include <resnext/io/gnuplot.hpp>
#include <resnext/io/image.hpp>

namespace resnext {

/// A picture and up to two short lines below it.
struct SheetCell {
  Image image;                ///< of any size
  std::string title;          ///< the first line
  std::string subtitle;       ///< the second line
  std::optional<bool> right;  ///< frame and title green or red; nothing for grey
};

namespace detail {

inline constexpr int sheet_tile = 96, sheet_frame = 3, sheet_width = 132, sheet_height = 144, sheet_text = 15;

struct SheetPlace {
  int x, y;  // of the tile's upper left corner
};
inline SheetPlace sheet_place(std::size_t cell, int columns) {
  const auto i = static_cast<int>(cell);
  return {i % columns * sheet_width + (sheet_width - sheet_tile) / 2, i / columns * sheet_height + 8};
}

inline std::array<std::uint8_t, 3> sheet_color(const SheetCell& cell) {
  if (!cell.right) return {150, 150, 150};
  if (*cell.right) return {40, 150, 80};
  return {210, 40, 40};
}

/// The pictures in their frames, enlarged by whole numbers or averaged to fit.
inline Image sheet_canvas(std::span<const SheetCell> cells, int columns, int rows) {
  Image canvas{rows * sheet_height, columns * sheet_width, 3, {}};
  canvas.pixels.assign(static_cast<std::size_t>(canvas.height) * static_cast<std::size_t>(canvas.width) * 3, 255);
  const auto put = [&](int x, int y, std::array<std::uint8_t, 3> color) {
    std::copy(color.begin(), color.end(),
              canvas.pixels.begin() + (std::ptrdiff_t{y} * canvas.width + x) * std::ptrdiff_t{3});
  };
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto [left, top] = sheet_place(i, columns);
    const auto color = sheet_color(cells[i]);
    for (int y = -sheet_frame; y < sheet_tile + sheet_frame; ++y) {
      for (int x = -sheet_frame; x < sheet_tile + sheet_frame; ++x) put(left + x, top + y, color);
    }
    Image image = cells[i].image;
    const int side = std::max(image.height, image.width);
    if (side > sheet_tile) {
      const auto scaled = [&](int extent) {
        return std::max(1, static_cast<int>(std::int64_t{extent} * sheet_tile / side));
      };
      image = resized(image, scaled(image.height), scaled(image.width));
    }
    const int factor = std::max(1, sheet_tile / std::max(image.height, image.width));
    const int height = image.height * factor, width = image.width * factor;
    const int down = (sheet_tile - height) / 2, across = (sheet_tile - width) / 2;
    for (int y = 0; y < sheet_tile; ++y) {
      for (int x = 0; x < sheet_tile; ++x) {
        const int from_y = (y - down) / factor, from_x = (x - across) / factor;
        const bool inside = y >= down && x >= across && from_y < image.height && from_x < image.width;
        std::array<std::uint8_t, 3> pixel{};
        if (inside) {
          const auto at =
              static_cast<std::size_t>(from_y * image.width + from_x) * static_cast<std::size_t>(image.channels);
          for (std::size_t c = 0; c < 3; ++c) pixel[c] = image.pixels[at + (image.channels == 3 ? c : 0)];
        }
        put(left + x, top + y, pixel);
      }
    }
  }
  return canvas;
}

/// A fresh folder among the system's temporary files, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::absolute(std::filesystem::temp_directory_path()) / "resnext-XXXXXX")) {
    std::string name = path_.string();
    if (::mkdtemp(name.data()) == nullptr) fail_errno(name, "make a folder");
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace detail

/// Draws the cells, `columns` in a row, as a PNG. Without gnuplot there is no text on it: the frames still say what is
/// right.
/// @return false when the text is missing, because gnuplot is not installed or failed
/// @throws ShapeError when there is no cell, a cell's picture is none, or the sheet would have more than
/// `max_image_pixels`; FileError when the picture cannot be written
inline bool draw_contact_sheet(const std::filesystem::path& picture, std::span<const SheetCell> cells,
                               int columns = 8) {
  if (cells.empty() || columns < 1)
    throw_error<ShapeError>(picture.string(), ": expected at least one cell and one column");
  for (const SheetCell& cell : cells) detail::check_image(cell.image, picture.string());
  const auto rows = static_cast<std::int64_t>((cells.size() - 1) / static_cast<std::size_t>(columns) + 1);
  const auto pixels = checked_product({columns, detail::sheet_width, rows, detail::sheet_height});
  if (!pixels || *pixels > static_cast<std::uint64_t>(max_image_pixels)) {
    throw_error<ShapeError>(picture.string(), ": expected a sheet of at most ", max_image_pixels, " pixels, found ",
                            rows, " rows of ", columns, " cells");
  }
  const Image canvas = detail::sheet_canvas(cells, columns, static_cast<int>(rows));

  std::string script =
      "unset key\nunset border\nunset tics\nset margins 0,0,0,0\n"
      "set lmargin at screen 0\nset rmargin at screen 1\nset bmargin at screen 0\nset tmargin at screen 1\n"
      "set xrange [0:" +
      std::to_string(canvas.width) + "]\nset yrange [0:" + std::to_string(canvas.height) + "]\n";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const detail::SheetPlace place = detail::sheet_place(i, columns);
    const auto rgb = detail::sheet_color(cells[i]);
    std::array<char, 8> title_color{};
    std::snprintf(title_color.data(), title_color.size(), "#%02x%02x%02x", rgb[0], rgb[1], rgb[2]);
    const auto label = [&](const std::string& text, const char* color, int line) {
      if (text.empty()) return;
      const int x = place.x + detail::sheet_tile / 2;
      const int y =
          canvas.height - (place.y + detail::sheet_tile + detail::sheet_frame + 9 + line * detail::sheet_text);
      script += "set label " + gnuplot_string(text) + " at " + std::to_string(x) + "," + std::to_string(y) +
                " center front font 'Sans,8' textcolor rgb '" + color + "'\n";
    };
    label(cells[i].title, title_color.data(), 0);
    label(cells[i].subtitle, "#444444", 1);
  }
  // gnuplot reads the bare sheet and writes the same one with text on it, both under names of our own: it takes some
  // names for commands, and the picture itself is written once, whatever kind of file it is.
  std::optional<MappedFile> drawn;
  try {
    const detail::TemporaryFolder folder;
    const std::filesystem::path bare = folder.path() / "bare.png", result = folder.path() / "drawn.png";
    write_png(bare, canvas);
    script += "plot input0 binary filetype=png origin=(0.5,0.5) with rgbimage\n";
    draw_with_gnuplot(result, canvas.width, canvas.height, script, std::array{bare});
    drawn.emplace(result);
  } catch (const FileError&) {
    drawn.reset();
  }
  if (drawn) {
    write_file(picture, {drawn->bytes()});
  } else {
    write_png(picture, canvas);
  }
  return drawn.has_value();
}

}  // namespace resnext
