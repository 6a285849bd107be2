#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Where the reference files lie and how tests walk them. Golden tests list a folder when they run
/// (not when they are built), so that other cases of the same layout are taken up as they come.
///
///   TEST(GoldenFocus, EveryCase) {
///     HEADSCOPE_REQUIRE_GOLDEN("attention");
///     for (const auto& file : headscope::golden::files("attention", ".safetensors")) {
///       SCOPED_TRACE(file.stem().string());
///       ...
namespace headscope::golden {

/// The folder of goldens: the environment variable HEADSCOPE_GOLDEN, else ../shared/golden.
inline std::filesystem::path golden_dir() {
  const char* chosen = std::getenv("HEADSCOPE_GOLDEN");
  if (chosen != nullptr && *chosen != '\0') return chosen;
  return std::filesystem::path(HEADSCOPE_SOURCE_DIR) / ".." / "shared" / "golden";
}
/// Real models and data lie beside the goldens.
inline std::filesystem::path models_dir() { return golden_dir() / ".." / "models"; }
inline std::filesystem::path data_dir() { return golden_dir() / ".." / "data"; }

/// The sub-folders of golden_dir()/subdir, sorted by name: one case each.
inline std::vector<std::filesystem::path> folders(std::string_view subdir) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir() / subdir)) {
    if (entry.is_directory()) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// The files of golden_dir()/subdir whose names end so (".safetensors"), sorted by name.
inline std::vector<std::filesystem::path> files(std::string_view subdir, std::string_view ending) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir() / subdir)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name.ends_with(ending)) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Says once a case why it was left out; the test goes on with the next one.
/// `reason` reads like "not yet: rotary positions".
inline void leave_out(std::string_view case_name, std::string_view reason) {
  GTEST_LOG_(INFO) << case_name << ": " << reason;
}

}  // namespace headscope::golden

/// Skips the running test, with one clear line, when a folder or file below the goldens is absent.
#define HEADSCOPE_REQUIRE_GOLDEN(subdir)                                           \
  if (!std::filesystem::exists(::headscope::golden::golden_dir() / (subdir)))      \
  GTEST_SKIP() << "no " << (::headscope::golden::golden_dir() / (subdir)).string() \
               << " (set HEADSCOPE_GOLDEN to the folder of goldens)"

/// The same for a real model, for example "minilm-l6".
#define HEADSCOPE_REQUIRE_MODEL(model)                                            \
  if (!std::filesystem::exists(::headscope::golden::models_dir() / (model)))      \
  GTEST_SKIP() << "no " << (::headscope::golden::models_dir() / (model)).string() \
               << " (models lie beside the goldens, see HEADSCOPE_GOLDEN)"
