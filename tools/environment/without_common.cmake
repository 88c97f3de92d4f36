# Read right after llama.cpp's own project() call, by CMAKE_PROJECT_llama.cpp_INCLUDE.
# llama-cpp-python switches libllama-common on and never loads it: 57 of 140 build steps.
set(LLAMA_BUILD_COMMON OFF)
