# What a careful consumer compiles with.
set(warnings -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wdouble-promotion -Wformat=2 -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Wnull-dereference -Wundef -Weffc++ -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND warnings -Wuseless-cast -Wduplicated-cond -Wduplicated-branches -Wlogical-op)
endif()
