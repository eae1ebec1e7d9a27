// Draws the learning curves of runs over each other: loss and accuracy, training dashed and test solid.
//
//     curves run/log.csv other/log.csv --picture curves.svg
//
// The logs are those that train has written, as CSV. Exit status: 0 done, 1 an error, 2 wrong options.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <vector>

#include <resnext/train/log.hpp>

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> logs;
  std::filesystem::path picture = "curves.png";
  CLI::App app("Draws the learning curves of runs over each other.");
  app.footer("Exit status: 0 done, 1 an error, 2 wrong options.");
  app.add_option("logs", logs, "CSV logs of runs")->required();
  app.add_option("--picture", picture, "Where to, .png or .svg")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    resnext::draw_learning_curve(logs, picture);
    std::printf("learning curves: %s\n", picture.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "curves: %s\n", error.what());
    return 1;
  }
}
