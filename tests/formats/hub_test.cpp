#include "formats/hub.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "formats/scratch.h"
#include "headscope/safetensors.h"

namespace headscope::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'a');

File file(const std::string& path) { return {path, 1, std::string(40, '0'), false}; }

Listing listing(const std::vector<std::string>& paths) {
  Listing out{kCommit, {}};
  for (const std::string& path : paths) out.files.push_back(file(path));
  return out;
}

std::vector<std::string> chosen(const std::vector<std::string>& paths,
                                const std::vector<std::string>& named = {}) {
  std::vector<std::string> out;
  for (const File& one : choose(listing(paths), named, "o/n")) out.push_back(one.path);
  return out;
}

ErrorCode refusal(const std::vector<std::string>& paths,
                  const std::vector<std::string>& named = {}) {
  try {
    (void)chosen(paths, named);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

using Paths = std::vector<std::string>;

TEST(Hub, ChoosesWhatAModelNeeds) {
  EXPECT_EQ(chosen({"README.md",
                    "config.json",
                    "model.safetensors",
                    "onnx/model.onnx",
                    "original/model.safetensors",
                    "pytorch_model.bin",
                    "tokenizer.json"}),
            (Paths{"config.json", "tokenizer.json", "model.safetensors"}));
  EXPECT_EQ(chosen({"config.json",
                    "consolidated.safetensors",
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "model.safetensors.index.json"}),
            (Paths{"config.json",
                   "model-00001-of-00002.safetensors",
                   "model-00002-of-00002.safetensors",
                   "model.safetensors.index.json"}));
  EXPECT_EQ(chosen({"README.md", "tiny.gguf"}), (Paths{"tiny.gguf"}));
  EXPECT_EQ(chosen({"a.gguf", "b.gguf"}, {"b.gguf"}), (Paths{"b.gguf"}));
  EXPECT_EQ(refusal({"a.gguf", "b.gguf"}), ErrorCode::kUsage);
  EXPECT_EQ(refusal({"config.json", "pytorch_model.bin"}), ErrorCode::kUnsupported);
  EXPECT_EQ(refusal({"a.gguf"}, {"c.gguf"}), ErrorCode::kNotFound);
}

TEST(Hub, NamesAreThoseOfTheHub) {
  for (const char* good : {"org/name", "gpt2", "HuggingFaceTB/SmolLM2-135M_x.y"})
    EXPECT_TRUE(is_name(good)) << good;
  for (const char* bad :
       {"", "a/b/c", "../x", "a/..", "/etc", "a/", "a b/c", "a--b/c", ".a/b", "a\n"})
    EXPECT_FALSE(is_name(bad)) << bad;
}

TEST(Hub, ListingsThatWouldLeadOutAreRefused) {
  const auto entry = [](const std::string& path, const std::string& hash) {
    return R"([{"type": "file", "size": 3, "path": )" + path + R"(, "oid": ")" + hash + R"("}])";
  };
  const std::string hash(40, 'b');
  EXPECT_EQ(parse_listing(entry(R"("a/b.json")", hash), "o/n").size(), 1U);
  for (const char* path : {R"("../x")",
                           R"("a/../../x")",
                           R"("/etc/passwd")",
                           R"("a//b")",
                           R"("./a")",
                           R"("a\\b")",
                           R"("a\u0000b")",
                           R"("")",
                           R"("a/")",
                           "3"}) {
    EXPECT_THROW((void)parse_listing(entry(path, hash), "o/n"), Error) << path;
  }
  EXPECT_THROW((void)parse_listing(entry(R"("a")", "../../../../x"), "o/n"), Error);
  EXPECT_THROW((void)parse_listing(entry(R"("a")", std::string(64, 'b')), "o/n"), Error);
  EXPECT_THROW((void)parse_listing("{}", "o/n"), Error);
  EXPECT_THROW((void)parse_listing("[1]", "o/n"), Error);
}

TEST(Hub, TheCacheIsThatOfHuggingfaceHub) {
  const Scratch scratch;
  Settings settings;
  settings.cache = scratch.path();
  EXPECT_TRUE(cached(settings).empty());
  const fs::path folder = scratch / "models--org--name";
  fs::create_directories(folder / "refs" / "pr");
  fs::create_directories(folder / "snapshots" / kCommit);
  fs::create_directories(scratch / "models--org--broken" / "refs");
  fs::create_directories(scratch / "datasets--org--data");
  write_file(folder / "refs" / "main", kCommit);
  write_file(folder / "refs" / "pr" / "1", "../../../..");
  EXPECT_EQ(snapshot(settings, "org/name"), folder / "snapshots" / kCommit);
  EXPECT_EQ(snapshot(settings, "org/name", kCommit), folder / "snapshots" / kCommit);
  EXPECT_EQ(snapshot(settings, "org/name", "pr/1"), std::nullopt);
  EXPECT_EQ(snapshot(settings, "org/name", "../main"), std::nullopt);
  EXPECT_EQ(snapshot(settings, "org/other"), std::nullopt);
  EXPECT_EQ(snapshot(settings, "../x"), std::nullopt);
  const std::vector<Cached> all = cached(settings);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "org/broken");
  EXPECT_NE(all[0].problem, "");
  EXPECT_EQ(all[1].name, "org/name");
  EXPECT_EQ(all[1].problem, "");
}

TEST(Hub, SettingsComeFromTheVariablesOfHuggingface) {
  for (const char* name :
       {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"})
    ::unsetenv(name);
  ::setenv("HOME", "/h", 1);
  EXPECT_EQ(Settings::from_environment().cache, "/h/.cache/huggingface/hub");
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(Settings::from_environment().cache, "/x/huggingface/hub");
  ::setenv("HF_HOME", "/hf", 1);
  EXPECT_EQ(Settings::from_environment().cache, "/hf/hub");
  ::setenv("HF_HUB_CACHE", "/c", 1);
  EXPECT_EQ(Settings::from_environment().cache, "/c");
  EXPECT_FALSE(Settings::from_environment().offline);
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  ::setenv("HF_ENDPOINT", "http://mirror/", 1);
  EXPECT_TRUE(Settings::from_environment().offline);
  EXPECT_EQ(Settings::from_environment().endpoint, "http://mirror");
  for (const char* name :
       {"HF_ENDPOINT", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"})
    ::unsetenv(name);
}

}  // namespace
}  // namespace headscope::hub
