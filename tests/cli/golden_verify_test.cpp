#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "golden/golden.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

// `headscope verify` over the folders of golden/families.
namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string out;
  std::string complaint;
};

Outcome verify_with(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"verify"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  Outcome out;
  out.status = run(arguments, out.out, out.complaint);
  return out;
}

std::string family_of(const fs::path& folder) {
  const auto config = nlohmann::json::parse(read_file(folder / "config.json"));
  return config.value("model_type", "");
}

bool known(const fs::path& folder) {
  const auto names = families();
  return std::find(names.begin(), names.end(), family_of(folder)) != names.end();
}

// A copy of a folder's io.safetensors with one number of one tensor changed.
void copy_with_one_number_changed(const fs::path& from,
                                  const fs::path& to,
                                  const std::string& name) {
  fs::create_directories(to);
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(from / file, to / file, fs::copy_options::overwrite_existing);
  }
  const Safetensors io = Safetensors::open(from / "io.safetensors");
  auto tensors = io.tensors();
  Tensor changed = Tensor::f32_from(tensors.at(name));
  changed.span<float>()[0] += 0.01F;
  tensors[name] = changed.any();
  write_safetensors(to / "io.safetensors", tensors, io.metadata());
}

class GoldenVerify : public ::testing::Test {
 protected:
  void SetUp() override {
    HEADSCOPE_REQUIRE_GOLDEN("families");
    scratch_ = fs::temp_directory_path() / ("headscope-verify-" + std::to_string(::getpid()));
  }
  void TearDown() override { fs::remove_all(scratch_); }
  fs::path scratch_;
};

TEST_F(GoldenVerify, EveryFamilyThatIsKnownAgrees) {
  int verified = 0;
  for (const fs::path& folder : golden::folders("families")) {
    const Outcome outcome = verify_with({folder.string(), "--json"});
    if (!known(folder)) {
      golden::leave_out(folder.filename().string(), "not yet: family " + family_of(folder));
      EXPECT_EQ(outcome.status, 3) << outcome.complaint;
      continue;
    }
    EXPECT_EQ(outcome.status, 0) << folder << outcome.out << outcome.complaint;
    const auto json = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << outcome.complaint;
    const bool published = fs::exists(folder / "config.published.json");
    EXPECT_EQ(json.at("runs").size(), published ? 2U : 1U);
    ++verified;
  }
  EXPECT_GT(verified, 0);
}

TEST_F(GoldenVerify, OneChangedNumberIsFoundWhereItIs) {
  for (const fs::path& folder : golden::folders("families")) {
    if (!known(folder)) continue;
    for (const std::string name : {"attentions.1", "hidden_states.1"}) {
      copy_with_one_number_changed(folder, scratch_, name);
      const Outcome outcome = verify_with({scratch_.string(), "--json"});
      EXPECT_EQ(outcome.status, 1) << folder << ' ' << name << outcome.complaint;
      const auto json = nlohmann::json::parse(outcome.out);
      for (const auto& tensor : json.at("runs")[0].at("tensors")) {
        EXPECT_EQ(tensor.at("ok").get<bool>(), tensor.at("tensor") != name) << folder << tensor;
      }
    }
    return;
  }
}

TEST_F(GoldenVerify, TheNextFolderHasItsTurnAfterOneThatCannotRun) {
  std::vector<std::string> arguments = {"--json"};
  for (const fs::path& folder : golden::folders("families")) {
    if (known(folder) || arguments.size() == 1) arguments.push_back(folder.string());
  }
  arguments.push_back((scratch_ / "nothing").string());
  const Outcome outcome = verify_with(arguments);
  EXPECT_EQ(outcome.status, 3);
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_GE(json.at("runs").size(), arguments.size() - 1);
  EXPECT_TRUE(json.at("runs").back().contains("error"));
}

TEST_F(GoldenVerify, DumpHoldsTheSameNamesAndShapes) {
  fs::create_directories(scratch_);
  for (const fs::path& folder : golden::folders("families")) {
    if (!known(folder)) continue;
    const fs::path dump = scratch_ / "ours.safetensors";
    ASSERT_EQ(verify_with({folder.string(), "--dump", dump.string()}).status, 0);
    const Safetensors ours = Safetensors::open(dump);
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    for (const auto& [name, view] : ours.tensors())
      EXPECT_EQ(view.shape, io.at(name).shape) << name;
    const bool sees =
        std::any_of(ours.tensors().begin(), ours.tensors().end(), [](const auto& one) {
          return one.first.find("attentions.0") != std::string::npos;
        });
    EXPECT_TRUE(sees) << folder;
    EXPECT_EQ(ours.find("input_ids"), nullptr);
  }
}

}  // namespace
}  // namespace headscope::cli
