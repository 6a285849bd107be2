#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/app.h"
#include "formats/scratch.h"
#include "headscope/gguf.h"
#include "headscope/safetensors.h"
#include "nlohmann/json.hpp"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string out, complaint;
};

Outcome convert_with(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "convert");
  Outcome outcome;
  outcome.status = run(arguments, outcome.out, outcome.complaint);
  return outcome;
}

/// A gpt2 of one layer.
void write_model(const fs::path& folder) {
  fs::create_directories(folder);
  write_file(
      folder / "config.json",
      R"({"model_type":"gpt2","n_embd":32,"n_head":2,"n_layer":1,"n_positions":8,"vocab_size":5})");
  std::vector<Tensor> kept;
  std::map<std::string, AnyView, std::less<>> views;
  const auto put = [&](const std::string& name, const Shape& shape) {
    kept.push_back(Tensor::zeros(DType::kF32, shape));
    kept.back().span<float>()[1] = 0.5F;
    views.emplace(name, kept.back().any());
  };
  kept.reserve(20);
  put("wte.weight", {5, 32});
  put("wpe.weight", {8, 32});
  for (const char* norm : {"ln_f", "h.0.ln_1", "h.0.ln_2"}) {
    put(std::string(norm) + ".weight", {32});
    put(std::string(norm) + ".bias", {32});
  }
  put("h.0.attn.c_attn.weight", {32, 96});
  put("h.0.attn.c_attn.bias", {96});
  put("h.0.attn.c_proj.weight", {32, 32});
  put("h.0.attn.c_proj.bias", {32});
  put("h.0.mlp.c_fc.weight", {32, 128});
  put("h.0.mlp.c_fc.bias", {128});
  put("h.0.mlp.c_proj.weight", {128, 32});
  put("h.0.mlp.c_proj.bias", {32});
  write_safetensors(folder / "model.safetensors", views);
}

TEST(ConvertVerb, GoesThereAndBackAndWritesOverNothing) {
  const Scratch scratch;
  write_model(scratch / "m");
  const std::string folder = (scratch / "m").string();
  const std::string gguf = (scratch / "m.gguf").string();
  const std::string back = (scratch / "back").string();
  ASSERT_EQ(convert_with({folder, "-o", gguf, "--dtype", "q8_0"}).status, 0);
  EXPECT_EQ(Gguf::open(gguf).at("blk.0.ffn_up.weight").dtype, DType::kQ8_0);
  EXPECT_EQ(Gguf::open(gguf).at("blk.0.ffn_up.weight").shape, (Shape{128, 32}));
  const Outcome again = convert_with({folder, "-o", gguf});
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.complaint.find("--force"), std::string::npos) << again.complaint;
  EXPECT_EQ(convert_with({folder, "-o", gguf, "--force"}).status, 0);
  EXPECT_EQ(Gguf::open(gguf).at("blk.0.ffn_up.weight").dtype, DType::kF16);
  const Outcome json = convert_with({gguf, "-o", back, "--json"});
  ASSERT_EQ(json.status, 0) << json.complaint;
  EXPECT_EQ(nlohmann::json::parse(json.out)["dtype"], "f32");
  EXPECT_EQ(Safetensors::open(back).at("h.0.mlp.c_fc.weight").shape, (Shape{32, 128}));
  EXPECT_EQ(convert_with({gguf, "-o", back}).status, 2);
}

TEST(ConvertVerb, TakesABuiltInModelByItsName) {
  const Scratch scratch;
  const std::string gguf = (scratch / "planted.gguf").string();
  const Outcome outcome = convert_with({"planted", "-o", gguf});
  ASSERT_EQ(outcome.status, 0) << outcome.complaint;
  EXPECT_EQ(Gguf::open(gguf).metadata()["general.name"], "planted");
}

// A limit on the size of files ends writes as a full disk does.
class FullDisk {
 public:
  FullDisk() : before_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    rlimit low = limit_;
    low.rlim_cur = 20000;
    ::setrlimit(RLIMIT_FSIZE, &low);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }

 private:
  rlimit limit_{};
  void (*before_)(int);
};

std::map<std::string, std::string> all_files(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out[entry.path().string()] = read_file(entry.path(), 1 << 24);
  }
  return out;
}

TEST(ConvertVerb, AFullDiskLeavesEverythingAsItWas) {
  const Scratch scratch;
  write_model(scratch / "m");
  const std::string gguf = (scratch / "m.gguf").string();
  const std::string back = (scratch / "back").string();
  ASSERT_EQ(convert_with({(scratch / "m").string(), "-o", gguf}).status, 0);
  ASSERT_EQ(convert_with({gguf, "-o", back}).status, 0);
  const auto before = all_files(scratch.path());
  ASSERT_EQ(before.size(), 5U);  // two folders of config.json and model.safetensors, one GGUF
  const std::vector<std::vector<std::string>> cases = {
      {gguf, "-o", back, "--force", "--dtype", "f16"},
      {gguf, "-o", back + "/new/folder"},
      {back, "-o", gguf, "--force"},
      {back, "-o", back + "/new.gguf"}};
  for (const auto& arguments : cases) {
    Outcome outcome;
    {
      const FullDisk full;
      outcome = convert_with(arguments);
    }
    EXPECT_EQ(outcome.status, 4) << arguments[2];
    EXPECT_TRUE(outcome.complaint.starts_with('[')) << outcome.complaint;
    EXPECT_EQ(all_files(scratch.path()), before);
  }
  EXPECT_FALSE(fs::exists(back + "/new/folder"));
  // A file where the folder should be.
  const Outcome taken = convert_with({gguf, "-o", back + "/config.json/folder"});
  EXPECT_EQ(taken.status, 3);
  EXPECT_TRUE(taken.complaint.starts_with('[')) << taken.complaint;
}

TEST(ConvertVerb, SaysWhatItExpects) {
  const Scratch scratch;
  write_model(scratch / "m");
  const std::string folder = (scratch / "m").string();
  const std::string gguf = (scratch / "m.gguf").string();
  const std::vector<std::pair<std::vector<std::string>, int>> cases = {
      {{}, 2},
      {{folder}, 2},
      {{folder, folder, "-o", gguf}, 2},
      {{folder, "-o", (scratch / "other").string()}, 2},
      {{gguf, "-o", gguf}, 2},
      {{folder, "-o", gguf, "--dtype", "q4_k"}, 2},
      {{gguf, "-o", folder + "2", "--dtype", "q8_0"}, 2},
      {{gguf, "-o", folder + "2"}, 3},
      {{(scratch / "none").string(), "-o", gguf}, 3},
      {{folder, "-o", (scratch / "none" / "m.gguf").string()}, 3},
  };
  for (const auto& [arguments, status] : cases) {
    const Outcome outcome = convert_with(arguments);
    EXPECT_EQ(outcome.status, status) << outcome.complaint;
    EXPECT_TRUE(outcome.complaint.starts_with('[')) << outcome.complaint;
  }
  EXPECT_EQ(scratch.files(), 1);
}

}  // namespace
}  // namespace headscope::cli
