// What this library costs a compiler: its headers, and the executors of networks.
//
//   compile_cost [NETWORK...] [Google Benchmark's options, for instance --benchmark_repetitions=3]
//   compile_cost 'ResNeXt50<16, 6>' 'ResNeXt29<4, 8>' --benchmark_filter=trainer
//
// Headers are compiled with -fsyntax-only; `classifier` and `trainer` are an -O2 translation unit that instantiates all
// members for all the networks named (ResNeXt-50 32x4d). CXX names another compiler than the one of this program, and
// CPLUS_INCLUDE_PATH where oneDNN is if not where compilers look. Times are user time of the compiler. A processor that
// is shared or slow makes it longer: a fixed file is compiled before and after, and times are divided by `slowness`,
// which says how much longer that took than on a quiet Zen 5. The label lists the grouped kernels in the object.

#include <benchmark/benchmark.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

constexpr double quiet_seconds = 0.33;  // the fixed file, with g++ 12 on a quiet Zen 5

const std::string compiler = std::getenv("CXX") != nullptr ? std::getenv("CXX") : RESNEXT_BENCHMARK_COMPILER;

/// A folder for as long as the program runs.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "compile_cost-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("could not make a folder like " + name);
    path = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

struct Cost {
  double seconds, mebibytes;
};

/// User time and peak memory of a compilation to unit.o in the folder.
Cost compile(const std::filesystem::path& folder, const std::string& source, const std::vector<std::string>& flags) {
  const std::string unit = folder / "unit.cpp", object = folder / "unit.o";
  std::ofstream(unit) << source;
  std::vector<std::string> words{compiler, "-std=c++20", "-fopenmp", "-I" RESNEXT_BENCHMARK_INCLUDE};
  words.insert(words.end(), flags.begin(), flags.end());
  words.insert(words.end(), {unit, "-o", object});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::pid_t process = 0;
  int status = ::posix_spawnp(&process, compiler.c_str(), nullptr, nullptr, arguments.data(), environ);
  struct rusage usage {};
  if (status != 0) throw std::system_error(status, std::generic_category(), compiler + " could not be started");
  if (::wait4(process, &status, 0, &usage) != process || status != 0) {
    throw std::runtime_error(compiler + " refused it; its messages are above");
  }
  const double user = static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
  return {user, static_cast<double>(usage.ru_maxrss) / 1024};
}

/// The lines that a command prints.
std::vector<std::string> output(const std::string& command) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::vector<std::string> lines(1);
  for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) {
    c == '\n' ? lines.emplace_back() : lines.back() += static_cast<char>(c);
  }
  if (pipe == nullptr || ::pclose(pipe) != 0) throw std::runtime_error("this failed: " + command);
  return lines;
}

/// The passes of grouped convolutions with their widths, and the widths of the loops below them.
std::string kernels(const std::vector<std::string>& names) {
  static const std::regex pass("GroupedConvolution<(\\d+)>::((?:for|back)ward\\w*)\\(");
  static const std::regex loop("(?:avx512|avx2|portable)::(?:row_kernel|row|sums_kernels|strip|gather)<(\\d+)");
  std::map<std::string, std::set<int>> widths;
  for (const std::string& name : names) {
    std::smatch match;
    if (std::regex_search(name, match, pass)) widths[match[2]].insert(std::stoi(match[1]));
    if (std::regex_search(name, match, loop)) widths["loops"].insert(std::stoi(match[1]));
  }
  std::string text;
  for (const auto& [what, numbers] : widths) {
    text += (text.empty() ? "" : ", ") + what;
    for (const int d : numbers) text += " " + std::to_string(d);
  }
  return text;
}

void run(benchmark::State& state, const std::filesystem::path& folder, const std::string& source,
         const std::string& flag) {
  const auto fixed = [&] { return compile(folder, "#include <regex>\n", {"-fsyntax-only"}).seconds; };
  try {
    for (auto _ : state) {
      const double before = fixed();
      const Cost cost = compile(folder, source, {flag == "-c" ? "-O2" : "-O0", flag});
      if (flag == "-c") {
        const std::string symbols = "nm --format=just-symbols " + (folder / "unit.o").string();
        std::size_t longest = 0;
        for (const std::string& name : output(symbols)) longest = std::max(longest, name.size());
        state.counters["longest_symbol"] = static_cast<double>(longest);
        state.SetLabel(kernels(output(symbols + " --demangle")));
      }
      const double slowness = std::max(1.0, (before + fixed()) / 2 / quiet_seconds);
      state.SetIterationTime(cost.seconds / slowness);
      state.counters["slowness"] = slowness;
      state.counters["MiB"] = cost.mebibytes;
    }
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

}  // namespace

int main(int argc, char** argv) try {
  benchmark::Initialize(&argc, argv);
  std::vector<std::string> networks(argv + 1, argv + argc);
  for (const std::string& net : networks) {
    if (!net.starts_with("-")) continue;
    std::fprintf(stderr, "compile_cost: expected networks and options of Google Benchmark, found %s\n", net.c_str());
    return 2;
  }
  if (networks.empty()) networks = {"ResNeXt50<32, 4>"};
  benchmark::AddCustomContext("compiler", output(compiler + " --version").front());
  const Folder folder;
  const auto add = [&](const std::string& name, const std::string& source, const std::string& flag) {
    benchmark::RegisterBenchmark(name.c_str(), run, folder.path, source, flag)
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kSecond);
  };
  const std::string ours = "#include <resnext/resnext.hpp>\n", cpu = ours + "#include <resnext/cpu.hpp>\n";
  add("headers/dnnl", "#include <dnnl.hpp>\n", "-fsyntax-only");
  add("headers/resnext", ours, "-fsyntax-only");
  add("headers/resnext_and_cpu", cpu, "-fsyntax-only");
  for (const std::string executor : {"Classifier", "Trainer"}) {
    std::string source = cpu + "using namespace resnext;\n";
    for (const std::string& net : networks) {
      source.append("template class resnext::").append(executor).append("<").append(net).append(">;\n");
    }
    add(executor == "Trainer" ? "trainer" : "classifier", source, "-c");
  }
  benchmark::RunSpecifiedBenchmarks();
} catch (const std::exception& error) {
  std::fprintf(stderr, "compile_cost: %s\n", error.what());
  return 1;
}
