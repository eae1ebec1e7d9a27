// Says what is on pictures: the five most probable classes of each.
//
//     classify run shoe.png coat.jpg                 # run: a folder of checkpoints, or one, that train has written
//     classify run --test --sheet predictions.png    # the whole test split; a sheet of its first pictures
//     classify resnext50.safetensors --network resnext50_32x4d --classes imagenet.txt dog.jpg
//
// A picture is made to fit as the network saw its data: for ImageNet the shorter side becomes 256 pixels and the middle
// 224 are taken; for the small data sets the shorter side becomes 28 or 32. A picture that cannot be read is reported,
// the others are classified. Exit status: 0 done, 1 an error or a picture that could not be read, 2 wrong options.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include <resnext/data/class_names.hpp>
#include <resnext/data/preprocessing.hpp>
#include <resnext/eval/accuracy.hpp>
#include <resnext/eval/contact_sheet.hpp>
#include <resnext/io/image.hpp>
#include <resnext/train/checkpoint.hpp>

#include "networks.hpp"

using namespace resnext;

namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path weights;
  std::vector<fs::path> pictures;
  std::string network, data, folder, classes;
  std::vector<std::string> class_names;
  bool test = false, profile = false, json = false;
  int top = 5, cells = 48;
  std::string sheet;
};

/// What the classes are called: by the file that the user gave, or by the checkpoint.
std::vector<std::string> class_names(const Options& options, int classes) {
  if (!options.classes.empty()) return read_class_names(std::filesystem::path(options.classes), classes);
  const std::size_t found = options.class_names.size();
  if (found != 0 && found != static_cast<std::size_t>(classes)) {
    throw_error<FileError>(options.weights.string(), ": expected ", classes, " class names, found ", found);
  }
  return options.class_names;
}

std::string class_name(const std::vector<std::string>& names, std::int32_t label) {
  return names.empty() ? "class " + std::to_string(label) : names[static_cast<std::size_t>(label)];
}

/// A line of JSON. File names need not be UTF-8, which JSON must be: their other bytes become U+FFFD.
void print(const nlohmann::json& line) {
  std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

std::string percent(double share) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.0f %%", 100 * share);
  return text.data();
}

/// The pictures as a data set, so that they take the same way into the network as any other. What cannot be read is
/// reported and leaves `options.pictures`.
Dataset read_pictures(Options& options, const AnyClassifier& classifier, const Preprocessing& preprocessing) {
  Dataset data;
  data.name = "pictures";
  data.height = data.width = preprocessing.crop;
  data.channels = classifier.inputs();
  data.classes = classifier.classes();
  std::vector<fs::path> readable;
  for (const fs::path& path : options.pictures) {
    try {
      const Image crop = preprocessed_crop(read_image(path), preprocessing);
      data.images.insert(data.images.end(), crop.pixels.begin(), crop.pixels.end());
      data.labels.push_back(0);  // nobody knows
      readable.push_back(path);
    } catch (const std::exception& error) {
      std::string what = error.what();
      if (!what.starts_with(path.string())) what.insert(0, path.string() + ": ");
      std::fprintf(stderr, "classify: %s\n", what.c_str());
      if (options.json) print({{"picture", path.string()}, {"error", what}});
    }
  }
  options.pictures = std::move(readable);
  return data;
}

/// False when a picture could not be read.
bool run(Options options, AnyClassifier& classifier, const Preprocessing& preprocessing,
         const Augmentation& normalisation) {
  const std::vector<std::string> names = class_names(options, classifier.classes());
  Dataset data;
  const std::size_t given = options.pictures.size();
  if (options.test) {
    const auto& source = examples::source(options.data);
    data = source.read(DatasetSplit::test, options.folder.empty() ? source.folder : options.folder);
  } else {
    data = read_pictures(options, classifier, preprocessing);
    if (options.pictures.empty()) return false;
  }

  Loader loader(data, normalisation, {.batch = options.test ? 200 : 1, .shuffle = false});
  if (options.profile) {
    Profile profile;
    loader.start(0, 0);
    const Batch& batch = loader.next();
    for (int i = 0; i < 5; ++i) {
      classifier.profile(batch.images, profile);
    }
    std::fputs(profile.table(classifier.peak_gflops()).c_str(), stdout);
  }
  std::vector<SheetCell> cells;
  const auto classes = static_cast<std::size_t>(classifier.classes());
  const Accuracy accuracy = evaluate(classifier, loader, [&](const Batch& batch, std::span<const float> logits) {
    for (std::size_t i = 0; i < batch.labels.size(); ++i) {
      const auto best = most_probable(logits.subspan(i * classes, classes), options.top);
      const std::uint32_t index = batch.indices[i];
      const std::string first = class_name(names, best[0].label) + " " + percent(best[0].probability);
      if (options.json && !options.test) {
        nlohmann::json line{{"picture", options.pictures[index].string()}};
        for (const auto& [label, probability] : best) {
          line["best"].push_back({{"class", label}, {"name", class_name(names, label)}, {"probability", probability}});
        }
        print(line);
      } else if (!options.test) {
        std::printf("%s\n", options.pictures[index].c_str());
        for (const auto& [label, probability] : best) {
          std::printf("  %6.2f %%  %s\n", 100 * probability, class_name(names, label).c_str());
        }
      }
      if (cells.size() == static_cast<std::size_t>(options.cells)) continue;
      const auto pixels = data.image(index);
      SheetCell cell{{data.height, data.width, data.channels, {pixels.begin(), pixels.end()}}, first, {}, {}};
      if (options.test) {
        cell.right = best[0].label == batch.labels[i];
        if (!*cell.right) cell.subtitle = "is " + class_name(names, batch.labels[i]);
      } else {
        cell.subtitle = options.pictures[index].filename().string();
      }
      cells.push_back(std::move(cell));
    }
  });
  if (options.test && options.json) {
    const nlohmann::json line{{"data", data.name},
                              {"images", accuracy.images},
                              {"top1", accuracy.top1()},
                              {"top5", accuracy.top5()},
                              {"loss", accuracy.mean_loss()}};
    print(line);
  } else if (options.test) {
    std::printf("%s: %lld images, top-1 %.2f %%, top-5 %.2f %%, loss %.4f\n", data.name.c_str(),
                static_cast<long long>(accuracy.images), 100 * accuracy.top1(), 100 * accuracy.top5(),
                accuracy.mean_loss());
  }
  const bool all = options.pictures.size() == given;
  if (options.sheet.empty()) return all;
  if (!draw_contact_sheet(options.sheet, cells)) {
    std::fprintf(stderr, "classify: without gnuplot (Debian package gnuplot-nox) the sheet has no text\n");
  }
  if (!options.json) std::printf("contact sheet: %s\n", options.sheet.c_str());
  return all;
}

/// What the user did not say, a checkpoint of train knows.
void complete(Options& options) {
  if (fs::is_directory(options.weights)) {
    const auto damaged = [](const std::string& what) {
      std::fprintf(stderr, "classify: passed over %s\n", what.c_str());
    };
    const auto latest = latest_checkpoint(options.weights, damaged);
    if (!latest) throw_error<FileError>(options.weights.string(), ": there is no checkpoint in this folder");
    options.weights = *latest;
  }
  const Safetensors file(options.weights);
  const auto known = [&](const std::string& name) {
    const auto at = file.metadata().find("resnext.option." + name);
    return at == file.metadata().end() ? std::string() : at->second;
  };
  if (options.network.empty()) options.network = known("network");
  if (options.data.empty()) options.data = known("data");
  if (options.network.empty()) {
    throw_error<OptionError>(options.weights.string(), " does not say which network it is: give --network");
  }
  if (options.classes.empty() && file.metadata().contains("resnext.checkpoint")) {
    options.class_names = run_state(file).class_names;
  }
}

bool classify(Options options) {
  complete(options);
  const std::vector<std::string> imagenet = examples::imagenet_networks();
  if (std::find(imagenet.begin(), imagenet.end(), options.network) != imagenet.end()) {
    if (options.test) throw_error<OptionError>("--test: there is no data set for ", options.network, "; give pictures");
    const auto classifier = examples::imagenet_classifier(options.network, options.weights);
    return run(options, *classifier, imagenet_v1(), normalisation_only(imagenet_v1()));
  }
  if (options.data.empty())
    throw_error<OptionError>(options.weights.string(), " does not say what it was trained on: give --data");
  const auto& source = examples::source(options.data);
  const auto classifier = examples::small_classifier(options.network, source, options.weights);
  return run(options, *classifier, preprocessing_of(source.recipe(), source.inputs == 1 ? 28 : 32),
             normalisation_only(source.recipe()));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Says what is on pictures, or how well a network does on a test split.");
  app.footer(
      "A picture that cannot be read is reported, the others are classified.\n"
      "Exit status: 0 done, 1 an error or a picture that could not be read, 2 wrong options.");
  app.add_option("weights", options.weights, "Folder of checkpoints, checkpoint, or safetensors file")->required();
  auto* pictures = app.add_option("pictures", options.pictures, "PNG or JPEG files");
  auto* test = app.add_flag("--test", options.test, "Classify the test split instead")->excludes(pictures);
  app.add_option("--network", options.network, "Network (a checkpoint knows)");
  app.add_option("--data", options.data, "fashion-mnist, cifar10 or cifar100 (a checkpoint knows)");
  app.add_option("--folder", options.folder, "Where the data set's files are");
  app.add_option("--classes", options.classes, "Text file, UTF-8, with a name a line for every class");
  app.add_option("--top", options.top, "Classes to print (5)")->check(CLI::Range(1, 1000));
  app.add_option("--sheet", options.sheet, "PNG to write, with the first pictures and what they are taken for");
  app.add_flag("--profile", options.profile, "Print the time of every layer for the first batch too");
  app.add_flag("--json", options.json, "Print a line of JSON a picture (\"error\" in a bad one's), or for the split")
      ->excludes("--profile");
  app.add_option("--cells", options.cells, "Pictures on the sheet (48)")->check(CLI::Range(1, 1000));
  try {
    app.parse(argc, argv);
    if (options.pictures.empty() && test->count() == 0) throw CLI::RequiredError("pictures or --test");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return classify(options) ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "classify: %s\n", error.what());
    return 1;
  }
}
